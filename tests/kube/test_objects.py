"""What is sent: a body that YAML and JSON read alike."""

from __future__ import annotations

import yaml
from hypothesis import given
from hypothesis import strategies as st

from tertium.kube.objects import apply_body

TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('\\ud83de0"😀'), max_size=20)


@given(texts=st.dictionaries(TEXTS, TEXTS, max_size=3))
def test_yaml_reads_what_was_written(texts: dict[str, str]) -> None:
    assert yaml.safe_load(apply_body({"data": texts})) == {"data": texts}


def test_an_emoji_stands_as_it_is_and_what_looks_like_its_escape_stays_escaped() -> None:
    assert apply_body({"a": "😀", "b": "\\ud83d\\ude00"}) == (
        '{"a": "😀", "b": "\\\\ud83d\\\\ude00"}'.encode()
    )

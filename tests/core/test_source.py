"""The forms of `spec.model.source`."""

from __future__ import annotations

import re

import pytest

from tertium.api.conditions import Reason
from tertium.api.rules import RULES
from tertium.core.errors import Terminal
from tertium.core.source import ClaimSource, HubSource, parse_source

ACCEPTED = [
    pytest.param("hf://Qwen/Qwen3-8B", HubSource("Qwen/Qwen3-8B"), id="a hub's repository"),
    pytest.param("pvc://models/qwen3-8b", ClaimSource("models", "qwen3-8b"), id="a folder of a claim"),
    pytest.param("pvc://my.claim/a/b.c/d", ClaimSource("my.claim", "a/b.c/d"), id="a folder further down"),
]
REFUSED = [
    pytest.param("s3://bucket/model", id="an unknown scheme"),
    pytest.param("Qwen/Qwen3-8B", id="no scheme"),
    pytest.param("hf://Qwen3-8B", id="a repository without its organisation"),
    pytest.param("hf://a/b/c", id="a repository with a path"),
    pytest.param("hf://../b", id="a parent folder as organisation"),
    pytest.param("pvc://models", id="a claim without a path"),
    pytest.param("pvc://models/", id="an empty path"),
    pytest.param("pvc://models/../etc", id="a path that climbs"),
    pytest.param("pvc://models/a/..", id="a path that ends with a climb"),
    pytest.param("pvc://Models/a", id="a claim with capitals"),
    pytest.param("pvc://models/a\n", id="a line break"),
]


@pytest.mark.parametrize(("text", "source"), ACCEPTED)
def test_a_source_is_read_and_written_back(text: str, source: HubSource | ClaimSource) -> None:
    assert parse_source(text) == source
    assert str(source) == text


@pytest.mark.parametrize("text", REFUSED)
def test_another_form_is_refused_with_the_known_ones(text: str) -> None:
    with pytest.raises(Terminal) as refused:
        parse_source(text)
    assert str(refused.value) == f"spec.model.source: {text!r} is neither hf://ORG/NAME nor pvc://CLAIM/PATH"
    assert refused.value.reason is Reason.INVALID


def _accepted_by_the_api_server(text: str) -> bool:
    """Evaluate the CEL rules' patterns: each rule but the first is `another scheme, or matches`."""
    scheme, *patterns = (rule.expression for rule in RULES["spec.model.source"])
    known = re.findall(r"startsWith\('([^']+)'\)", scheme)
    if not text.startswith(tuple(known)):
        return False
    for pattern in patterns:
        form = re.fullmatch(r"!self\.startsWith\('([^']+)'\) \|\| self\.matches\('\^(.+)\$'\)", pattern)
        assert form is not None
        if text.startswith(form[1]) and not re.fullmatch(form[2], text):
            return False
    return True


@pytest.mark.parametrize("text", [*(row.values[0] for row in ACCEPTED), *(row.values[0] for row in REFUSED)])
def test_the_api_server_s_rules_agree(text: str) -> None:
    accepted = text in {row.values[0] for row in ACCEPTED}
    assert _accepted_by_the_api_server(text) is accepted

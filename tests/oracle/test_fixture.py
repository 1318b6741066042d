"""The oracle's fixture: configs are reduced without loss of what decides shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2e.oracle import answers, models

MIXED = [*["sliding_attention"] * 5, "full_attention"]


@pytest.mark.parametrize(
    ("value", "folded"),
    [
        pytest.param(
            {"layer_types": MIXED * 8}, {"layer_types": {"cycle": MIXED, "length": 48}}, id="a cycle"
        ),
        pytest.param(
            {"kinds": (MIXED * 2)[:11] + MIXED},
            {"kinds": (MIXED * 2)[:11] + MIXED},
            id="a list without a cycle stays as it is",
        ),
        pytest.param(
            {"ratios": [1, 1, 4, 4] * 3}, {"ratios": {"cycle": [1, 1, 4, 4], "length": 12}}, id="numbers"
        ),
        pytest.param(
            {"ignore": ["lm_head", *(f"model.layers.{i}.mlp" for i in (0, 1, 2, 5))]},
            {"ignore": {"numbered": ["lm_head", "model.layers.{0-2,5}.mlp"]}},
            id="numbered names become a pattern",
        ),
    ],
)
def test_what_repeats_is_folded_and_comes_back(value: Any, folded: Any) -> None:
    assert models.compact(value) == folded
    assert models.expand(folded) == value


def test_what_decides_no_shape_is_dropped() -> None:
    config = {
        "hidden_size": 64,
        "bos_token_id": 1,
        "attention_dropout": 0.1,
        "auto_map": {},
        "head_dim": None,
    }
    assert models.compact(config) == {"hidden_size": 64}


def test_a_scheme_of_thousands_of_modules_is_left_out() -> None:
    listed = {str(number): {"algo": "FP8"} for number in range(2000)}
    assert models.compact({"hidden_size": 8, "quantization_config": {"layers": listed}}) == {"hidden_size": 8}


@given(
    st.lists(st.sampled_from([1, 2, "full", {"a": 1}]), max_size=12)
    | st.lists(st.builds("a.{}.b".format, st.integers(0, 30)), unique=True, max_size=12)
)
def test_folding_keeps_what_a_list_holds(items: list[Any]) -> None:
    back = models.expand(models.compact(items))
    assert back == items or sorted(back) == sorted(items)


def test_models_are_stored_one_a_line(tmp_path: Path) -> None:
    file = tmp_path / "models.json"
    models.store({"b": {"hidden_size": 1}, "a": {"layer_types": MIXED * 2}}, file)
    assert models.load(file) == {"a": {"layer_types": MIXED * 2}, "b": {"hidden_size": 1}}


def test_an_answer_is_reduced_to_what_is_compared(tmp_path: Path) -> None:
    shapes = {
        "1": {"parameterBytes": 8},
        "2": {"refused": "no"},
        "3": {"refused": "no"},
        "16": {"parameterBytes": 1},
    }
    reduced = answers.digest({"shapes": shapes})
    assert reduced == {
        "legal": [1, 16],
        "refusals": {"no": [2, 3]},
        "shapes": {"1": {"parameterBytes": 8}},
    }
    answers.store({"m": reduced}, tmp_path / "answers.json")
    assert answers.load(tmp_path / "answers.json") == {"m": reduced}

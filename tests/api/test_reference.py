"""The reference page."""

from __future__ import annotations

import pytest

from tertium.api.conditions import ConditionType, Reason
from tertium.api.reference import reference_page
from tertium.api.rules import RULES

PAGE = reference_page()


@pytest.mark.parametrize("word", [*ConditionType, *Reason])
def test_every_condition_and_reason_is_explained(word: str) -> None:
    assert f"| `{word}` | " in PAGE


def test_every_rule_is_told() -> None:
    for rules in RULES.values():
        for rule in rules:
            assert rule.message in PAGE


@pytest.mark.parametrize(
    "row",
    [
        pytest.param("| `spec.model.source` | string, required | ", id="a required string"),
        pytest.param("| `spec.capacity.contextTokens` | integer from 16 to 16,777,216 | ", id="bounds"),
        pytest.param("| `spec.accelerators[].product` | string, required | ", id="a field of a list's items"),
        pytest.param(
            "| `status.conditions[].status` | `True`, `False`, `Unknown`, required | ", id="a choice"
        ),
        pytest.param("| `status.conditions[].lastTransitionTime` | date-time, required | ", id="a format"),
        pytest.param("| `spec.engine.args` | list of string, at most 64 | ", id="a list"),
    ],
)
def test_a_field_is_told_with_its_type(row: str) -> None:
    assert row in PAGE

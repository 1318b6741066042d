"""The reference page."""

from __future__ import annotations

import pytest
import yaml

from tertium.api.conditions import ConditionType, Reason
from tertium.api.reference import EXAMPLE, reference_page
from tertium.api.rules import RULES
from tertium.api.v1alpha1 import LLMDeploymentSpec

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
        pytest.param("| `spec.model.source` | string of at most 1,024, required | ", id="a required string"),
        pytest.param("| `spec.capacity.contextTokens` | integer from 16 to 16,777,216 | ", id="bounds"),
        pytest.param(
            "| `spec.accelerators[].product` | string of at most 63, required | ",
            id="a field of a list's items",
        ),
        pytest.param(
            "| `status.conditions[].status` | `True`, `False`, `Unknown`, required | ", id="a choice"
        ),
        pytest.param("| `status.conditions[].lastTransitionTime` | date-time, required | ", id="a format"),
        pytest.param("| `spec.engine.args` | list of string of at most 4,096; at most 64 | ", id="a list"),
        pytest.param("| `spec.template.labels` | map to string of at most 63; at most 64 | ", id="a map"),
        pytest.param(
            "| `spec.template.resources.limits` | map to quantity; at most 32 | ", id="a map of quantities"
        ),
        pytest.param("| `spec.template.affinity` | object | ", id="an object of Kubernetes' own"),
        pytest.param("| `status.replicas` | integer from 0 | ", id="a bound on one side"),
    ],
)
def test_a_field_is_told_with_its_type(row: str) -> None:
    assert row in PAGE


def test_the_example_is_what_it_says() -> None:
    assert EXAMPLE in PAGE
    spec = LLMDeploymentSpec.model_validate(yaml.safe_load(EXAMPLE)["spec"])
    assert spec.rollout.strategy == "Recreate"
    assert spec.template.tolerations is not None
    assert spec.template.tolerations[0].key == "team-a/reserved"

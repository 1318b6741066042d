"""Contradictions inside one spec."""

from __future__ import annotations

from typing import Any

import pytest

from tertium.core.admission import check
from tertium.core.errors import Terminal
from tertium.core.observed import Owner
from tests.factories import a_manifest, an_owner


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        pytest.param(
            {"model": {"source": "s3://bucket/qwen"}},
            "spec.model.source: 's3://bucket/qwen' is neither hf://ORG/NAME nor pvc://CLAIM/PATH",
            id="an unknown scheme names the known ones",
        ),
        pytest.param(
            {"scaling": {"minReplicas": 3, "maxReplicas": 2}},
            "spec.scaling.minReplicas: 3 is more than maxReplicas, 2; lower it or raise maxReplicas",
            id="more at least than at most",
        ),
        pytest.param(
            {"engine": {"args": ["--max-model-len", "4096"]}},
            "spec.engine.args[0]: '--max-model-len' repeats --max-model-len, which is decided by "
            "spec.capacity.contextTokens; remove it",
            id="a planned flag with its value apart",
        ),
        pytest.param(
            {"engine": {"args": ["-tp2"]}},
            "spec.engine.args[0]: '-tp2' repeats -tp, which is decided by spec.parallelism.tensor; remove it",
            id="a short option with its value",
        ),
        pytest.param(
            {"engine": {"args": ["--port=9"]}},
            "spec.engine.args[0]: '--port=9' repeats --port, which is decided by Tertium; remove it",
            id="the port",
        ),
    ],
)
def test_refusals(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(Terminal) as refused:
        check(an_owner(spec).spec)
    assert str(refused.value) == message


def test_other_arguments_are_the_users_business() -> None:
    check(an_owner({"engine": {"args": ["--enforce-eager", "--kv-cache-dtype=fp8"]}}).spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        pytest.param({"model": {}}, "spec.model.source: Field required", id="a missing field"),
        pytest.param({"replicaz": 1}, "spec.replicaz: Extra inputs are not permitted", id="an unknown field"),
        pytest.param(
            {"scaling": {"idleSeconds": 0}},
            "spec.scaling.idleSeconds: Input should be greater than or equal to 1",
            id="a number below its bound",
        ),
    ],
)
def test_a_spec_that_is_not_understood_names_the_field(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(Terminal) as refused:
        Owner.parse(a_manifest(spec))
    assert str(refused.value) == message

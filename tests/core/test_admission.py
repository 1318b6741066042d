"""Contradictions inside one spec, and between a spec and its plan."""

from __future__ import annotations

from typing import Any

import pytest

from tertium.core.admission import check, check_plan
from tertium.core.errors import Terminal
from tertium.core.observed import Owner
from tests.factories import a_manifest, an_owner


def template(**fields: Any) -> dict[str, Any]:
    return {"template": fields}


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
            "spec.engine.args[0]: '--max-model-len 4096' contradicts spec.capacity.contextTokens, which "
            "says 2048; "
            "remove it, or set spec.capacity.contextTokens to 4096",
            id="an argument",
        ),
        pytest.param(
            {"engine": {"env": [{"name": "VLLM_PORT", "value": "1"}]}},
            "spec.engine.env[VLLM_PORT] is decided by Tertium; remove it",
            id="a variable",
        ),
        pytest.param(
            template(labels={"app.kubernetes.io/component": "x"}),
            "spec.template.labels[app.kubernetes.io/component] is Tertium's own; use another key",
            id="a label by which requests find the pod",
        ),
        pytest.param(
            template(labels={"tertium.dev/deployment": "x"}),
            "spec.template.labels[tertium.dev/deployment] is Tertium's own; use another key",
            id="a label of Tertium's",
        ),
        pytest.param(
            template(annotations={"controller.kubernetes.io/pod-deletion-cost": "1"}),
            "spec.template.annotations[controller.kubernetes.io/pod-deletion-cost] is Tertium's own; use "
            "another key",
            id="the deletion cost",
        ),
        pytest.param(
            template(nodeSelector={"nvidia.com/gpu.product": "GPU-80GB"}),
            "spec.template.nodeSelector[nvidia.com/gpu.product]: name the GPU in spec.accelerators instead",
            id="a GPU by its node's label",
        ),
        pytest.param(
            template(resources={"requests": {"cpu": 1}, "limits": {"nvidia.com/gpu": 4}}),
            "spec.template.resources.limits[nvidia.com/gpu] is decided by the plan; remove it, and pin "
            "the number "
            "of GPUs by spec.parallelism.tensor",
            id="a number of GPUs",
        ),
        pytest.param(
            template(resources={"requests": {"nvidia.com/mig-1g.5gb": "2"}}),
            "spec.template.resources.requests[nvidia.com/mig-1g.5gb] is decided by the plan; remove it, "
            "and pin the "
            "number of GPUs by spec.parallelism.tensor",
            id="slices of a GPU",
        ),
        pytest.param(
            template(volumes=[{"name": "model", "emptyDir": {}}]),
            "spec.template.volumes[model] is a volume of Tertium's own; give it another name",
            id="the model's volume",
        ),
        pytest.param(
            template(volumeMounts=[{"name": "x", "mountPath": "/dev/shm/"}]),
            "spec.template.volumeMounts[/dev/shm/] is a path of Tertium's own; use another",
            id="the path of shared memory",
        ),
    ],
)
def test_refusals(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(Terminal) as refused:
        check(an_owner(spec).spec)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"engine": {"args": ["--enforce-eager", "--kv-cache-dtype=fp8"]}}, id="other arguments"),
        pytest.param(
            template(
                labels={"team": "a"},
                annotations={"a": "b"},
                nodeSelector={"zone": "a"},
                resources={"limits": {"cpu": 8}},
                volumes=[{"name": "scratch", "emptyDir": {}}],
                volumeMounts=[{"name": "scratch", "mountPath": "/models/extra"}],
            ),
            id="more of everything",
        ),
    ],
)
def test_what_contradicts_nothing_is_the_users_business(spec: dict[str, Any]) -> None:
    check(an_owner(spec).spec)


def test_a_flag_of_the_plan_may_be_repeated_but_not_contradicted() -> None:
    check_plan(an_owner({"engine": {"args": ["-tp2"]}}).spec, ("--tensor-parallel-size=2",))
    with pytest.raises(Terminal) as refused:
        check_plan(an_owner({"engine": {"args": ["-tp", "4"]}}).spec, ("--tensor-parallel-size=2",))
    assert str(refused.value) == "spec.engine.args[0]: '-tp 4' contradicts the plan, which says 2; remove it"


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

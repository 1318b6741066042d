"""Every manifest, whole, as it stands in `tests/golden`: a changed line there is a changed object everywhere.

`--update-golden` writes the files anew. It does not where a pod changes while its revision stays: then
`RENDER_VERSION` must be raised first, or running replicas would be told apart by chance.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml

from tertium.api.meta import Manifest
from tertium.api.v1alpha1 import MemoryPlan, PlanStatus
from tertium.core import names
from tertium.core.blueprint import Blueprint
from tertium.core.planner.gpus import RESOURCE
from tertium.render.deployment import build_deployment
from tertium.render.inspection import build_facts, build_inspection
from tertium.render.lease import build_lease
from tertium.render.service import build_service
from tests.factories import FACTS_TEXT, POLICY, an_owner

GOLDEN: Final = Path(__file__).resolve().parents[1] / "golden"
KUBERNETES: Final = ("1.29", "1.36")
PLAN: Final = PlanStatus(
    accelerator="NVIDIA-L40S",
    gpus_per_replica=2,
    tensor_parallel_size=2,
    memory_per_gpu=MemoryPlan(
        total_mebibytes=46068, weights_mebibytes=1, kv_cache_mebibytes=1, headroom_mebibytes=1
    ),
    flags=("--tensor-parallel-size=2", "--max-model-len=2048"),
    why="2 GPUs",
)
HUB: Final = {
    "source": "hf://Qwen/Qwen3-8B",
    "revision": "main",
    "credentialsSecretRef": {"name": "hub"},
    "servedName": "q",
}
SPECS: Final[dict[str, dict[str, Any]]] = {
    "claim": {},
    "hub": {"model": HUB},
    "spot": {"accelerators": [{"product": "NVIDIA-L40S", "spot": True}]},
    "not-spot": {"accelerators": [{"product": "NVIDIA-L40S", "spot": False}]},
    "slice": {},
    "engine": {
        "rollout": {"drainSeconds": 600},
        "engine": {
            "image": "mine:2",
            "args": ["--seed=1", "$(PATH) `id` $$ ünïcode \n'\""],
            "env": [{"name": "B", "value": "$(A)"}, {"name": "A", "value": ""}],
        },
    },
    "template": {
        "template": {
            "labels": {"team": "a"},
            "annotations": {"note": "é: {}\n- x"},
            "nodeSelector": {"zone": "z1"},
            "tolerations": [{"key": "dedicated", "value": "llm", "effect": "NoSchedule"}],
            "resources": {"requests": {"cpu": "8", "memory": "32Gi"}},
            "priorityClassName": "high",
            "volumes": [{"name": "lora", "emptyDir": {}}],
            "volumeMounts": [{"name": "lora", "mountPath": "/lora"}],
            "imagePullSecrets": [{"name": "registry"}],
        }
    },
}
SLICE: Final = "nvidia.com/mig-1g.10gb"


def blueprint(case: str) -> Blueprint:
    owner = an_owner(SPECS[case])
    return Blueprint.of(
        owner,
        PLAN,
        resource=SLICE if case == "slice" else RESOURCE,
        spot={"spot": True, "not-spot": False}.get(case),
        model_revision="6f6073b" if case == "hub" else "",
        policy=POLICY,
    )


def manifests(case: str) -> list[Manifest]:
    owner = an_owner(SPECS[case])
    return [
        build_lease(owner),
        build_service(owner),
        build_inspection(owner, POLICY),
        build_facts(owner, FACTS_TEXT),
        build_deployment(owner.identity, blueprint(case), replicas=1),
    ]


def pod_of(items: list[Any]) -> tuple[str, Any]:
    """The revision of the engine and its pod."""
    engine = next(item for item in items if item["kind"] == "Deployment")
    return engine["metadata"]["labels"][names.REVISION_LABEL], engine["spec"]["template"]


def plain(items: list[Manifest]) -> list[Any]:
    return list(json.loads(json.dumps(items)))


@pytest.mark.parametrize("case", SPECS)
def test_manifests_are_as_they_were(case: str, request: pytest.FixtureRequest) -> None:
    path, rendered = GOLDEN / f"{case}.yaml", plain(manifests(case))
    known = list(yaml.safe_load_all(path.read_text())) if path.exists() else []
    if known:
        (revision, pod), (known_revision, known_pod) = pod_of(rendered), pod_of(known)
        assert pod == known_pod or revision != known_revision, (
            "the same blueprint makes another pod now: raise RENDER_VERSION in core/blueprint.py"
        )
    if request.config.getoption("--update-golden"):
        path.write_text(yaml.safe_dump_all(rendered, sort_keys=False, allow_unicode=True))
    else:
        assert rendered == known, f"{path.name} differs; if that is meant: pytest --update-golden"


@pytest.mark.parametrize("kubernetes", KUBERNETES)
@pytest.mark.parametrize("case", SPECS)
def test_manifests_have_no_field_that_kubernetes_does_not_know(case: str, kubernetes: str) -> None:
    for manifest in plain(manifests(case)):
        assert kubernetes_validate.validate(manifest, kubernetes, strict=True) == kubernetes


def test_every_golden_file_belongs_to_a_case() -> None:
    assert {path.stem for path in GOLDEN.glob("*.yaml")} == set(SPECS)


@pytest.mark.parametrize("case", SPECS)
def test_equal_revisions_are_equal_pods(case: str) -> None:
    """What the planner is only asked is not in the pod, so it must not be in the revision."""
    spec = {**SPECS[case], "precision": {"kvCache": "fp8IfNeeded"}, "parallelism": {"tensor": 2}}
    first, made = an_owner(SPECS[case]), blueprint(case)
    other = Blueprint.of(
        an_owner(spec),
        PLAN,
        resource=made.resource,
        spot=made.spot,
        model_revision=made.model_revision,
        policy=POLICY,
    )
    assert other.revision == made.revision
    one, two = (build_deployment(first.identity, item, replicas=1)["spec"] for item in (made, other))
    assert one == two


def test_a_revision_selects_its_own_pods_and_the_service_those_of_all() -> None:
    items = plain(manifests("claim"))
    engine, service = items[-1], items[1]
    labels = engine["spec"]["template"]["metadata"]["labels"]
    assert engine["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert service["spec"]["selector"].items() <= labels.items()
    assert names.REVISION_LABEL not in service["spec"]["selector"]


def test_the_time_to_drain_agrees_everywhere() -> None:
    pod = pod_of(plain(manifests("engine")))[1]["spec"]
    (engine,) = pod["containers"]
    leave = engine["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert "--shutdown-timeout=600" in engine["args"]
    assert pod["terminationGracePeriodSeconds"] == leave + 600 + 28

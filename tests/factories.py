"""Objects for tests, whole and valid; what a test is about it says by keyword."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from tertium.api.meta import ObjectKey, format_time
from tertium.api.v1alpha1 import LLMDeploymentStatus
from tertium.core import names
from tertium.core.blueprint import Blueprint
from tertium.core.decide import decide
from tertium.core.failure import StartFailure
from tertium.core.lifecycle import EnginePod
from tertium.core.load import Load
from tertium.core.observed import EngineSet, Facts, Identity, Observed, Owner
from tertium.core.planner import GpuPool, ModelFacts
from tertium.core.policy import Policy

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
KEY = ObjectKey("team-a", "qwen")
POLICY = Policy(engine_image="engine:1", operator_image="tertium:1", gateway_url="http://gateway/v1")
POOL = GpuPool(product="GPU-24GB", memory_mebibytes=24576, gpus_per_node=4)
FACTS = {
    "config": {
        "model_type": "llama",
        "num_hidden_layers": 30,
        "hidden_size": 576,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "intermediate_size": 1536,
        "vocab_size": 49152,
        "max_position_embeddings": 8192,
        "torch_dtype": "bfloat16",
    },
    "weightBytes": 269_060_352,
    "revision": "",
    "digest": "sha256:abc",
}
FACTS_TEXT = json.dumps(FACTS, sort_keys=True, separators=(",", ":"))


class FixedClock:
    """A clock that a test turns."""

    def __init__(self, now: datetime = NOW) -> None:
        self.time = now

    def now(self) -> datetime:
        return self.time

    def seconds(self) -> float:
        return self.time.timestamp()

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def a_manifest(
    spec: dict[str, Any] | None = None, *, key: ObjectKey = KEY, uid: str = "uid-1", generation: int = 1
) -> dict[str, Any]:
    """An LLMDeployment as the API server has it; `spec` is laid over a minimal one."""
    minimal: dict[str, Any] = {
        "model": {"source": "pvc://models/qwen"},
        "capacity": {"contextTokens": 2048, "concurrentSequences": 4},
    }
    return {
        "apiVersion": "tertium.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {
            "name": key.name,
            "namespace": key.namespace,
            "uid": uid,
            "generation": generation,
            "resourceVersion": "1",
            "creationTimestamp": format_time(NOW - timedelta(days=1)),
        },
        "spec": {**minimal, **(spec or {})},
    }


def an_owner(
    spec: dict[str, Any] | None = None, *, status: LLMDeploymentStatus | None = None, generation: int = 1
) -> Owner:
    owner = Owner.parse(a_manifest(spec, generation=generation))
    identity = Identity(
        key=owner.key,
        uid="uid-1",
        generation=generation,
        created=owner.identity.created,
        status=status or LLMDeploymentStatus(),
    )
    return Owner(identity=identity, spec=owner.spec)


def a_blueprint(spec: dict[str, Any] | None = None, **world: Any) -> Blueprint:
    """What the pods of `an_owner(spec)` are made of in a world where none runs."""
    goals = decide(an_owner(spec), observed(**world), POLICY, NOW).engines
    return next(goal.blueprint for goal in goals if goal.blueprint is not None)


@cache
def _plain() -> Blueprint:
    return a_blueprint()


def a_pod(
    name: str = "qwen-engine-1",
    *,
    ready: datetime | None = None,
    terminating: bool = False,
    failure: StartFailure | None = None,
    unschedulable: bool = False,
    waits_for: str = "",
    **more: Any,
) -> EnginePod:
    standard: dict[str, Any] = {
        "uid": f"pod-{name}",
        "revision": _plain().revision,
        "gpus": 1,
        "node": "node-1",
        "address": "10.0.0.1",
        "ended": None,
        "served": ready is not None,
        "created": NOW - seconds(60),
        "scheduled": NOW - seconds(59),
        "started": NOW - seconds(58),
    }
    return EnginePod(
        name=name,
        terminating=terminating,
        ready=ready,
        waits_for=waits_for,
        unschedulable=unschedulable,
        failure=failure,
        **{**standard, **more},
    )


def some_facts() -> Facts:
    return Facts(text=FACTS_TEXT, model=ModelFacts.parse(FACTS), refusal=None)


def an_engine_set(revision: str = "", *, of: Blueprint | None = None, **fields: Any) -> EngineSet:
    """One revision's Deployment, by default that of the plain spec; another one's document is not known."""
    made = of or (None if revision else _plain())
    revision = made.revision if made else revision
    standard: dict[str, Any] = {
        "name": names.engine_revision(KEY, revision),
        "uid": f"deployment-{revision}",
        "document": made.document if made else {},
        "spot": made.spot if made else None,
        "replicas": 0,
        "created": NOW - seconds(3600),
        "accelerator": made.plan.accelerator if made else POOL.product,
    }
    return EngineSet(revision=revision, **{**standard, **fields})


def observed(*, replicas: int | None = None, **fields: Any) -> Observed:
    """A world with a planned model and an idle GPU pool."""
    defaults: dict[str, Any] = {"facts": some_facts(), "facts_stored": True, "pools": (POOL,)}
    engines = () if replicas is None else (an_engine_set(replicas=replicas),)
    return Observed(**{**defaults, "engines": engines, **fields})


def quiet(quiet_for: float, *, in_flight: int = 0) -> Load:
    return Load(in_flight=in_flight, quiet_since=NOW - seconds(quiet_for))


def a_node(name: str = "node-1", product: str = "GPU-24GB", gpus: int = 4) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "uid": f"node-{name}",
            "resourceVersion": "1",
            "labels": {"nvidia.com/gpu.product": product, "nvidia.com/gpu.memory": "24576"},
        },
        "status": {"allocatable": {"nvidia.com/gpu": str(gpus)}},
    }


def a_pod_manifest(
    name: str = "qwen-engine-1",
    *,
    key: ObjectKey = KEY,
    component: str = "engine",
    status: dict[str, Any] | None = None,
    labels: dict[str, str] | None = None,
    deleted: bool = False,
) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": key.namespace,
        "uid": f"pod-{name}",
        "resourceVersion": "1",
        "creationTimestamp": format_time(NOW - seconds(60)),
        "labels": {**names.labels(key, component), **(labels or {})},
    }
    if component == "engine":
        metadata["labels"].setdefault(names.REVISION_LABEL, _plain().revision)
    if deleted:
        metadata["deletionTimestamp"] = format_time(NOW)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": status or {"phase": "Pending"}}


def at(offset: float) -> str:
    """The time `offset` seconds from now, as the API server writes it."""
    return format_time(NOW + seconds(offset))

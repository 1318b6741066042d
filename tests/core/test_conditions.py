"""What each condition says: one row per sentence a user can read."""

from __future__ import annotations

from typing import Any

import pytest

from tertium.api.conditions import ConditionType, Reason
from tertium.api.meta import ObjectKey
from tertium.api.v1alpha1 import MemoryPlan, PlanStatus, RolloutStatus, StartFailures
from tertium.core.conditions import Said, conditions_of, refused
from tertium.core.inspection import Inspection, Step
from tertium.core.plan import NoSizing, Plan, Scale, Sized
from tests.factories import NOW, a_pod, an_engine_set, an_owner, at, observed, seconds

READY = a_pod(ready=NOW - seconds(5))
STARTING = a_pod()
ENDING = a_pod("qwen-engine-2", terminating=True)
WAITING = a_pod(
    unschedulable=True, waits_for="0/2 nodes are available: 2 Insufficient nvidia.com/gpu.", revision="r2"
)
PULLING = a_pod(waits_for="ErrImagePull: no such host")
SIZED = Sized(
    plan=PlanStatus(
        accelerator="GPU-24GB",
        gpus_per_replica=1,
        tensor_parallel_size=1,
        memory_per_gpu=MemoryPlan(
            total_mebibytes=24, weights_mebibytes=1, kv_cache_mebibytes=1, headroom_mebibytes=1
        ),
        why="1 GPU holds it",
    ),
    reason=Reason.FITS,
)
NO_PLAN = NoSizing(status="False", reason=Reason.NO_ACCELERATOR, message="no node has a GPU")
LOOKING = NoSizing(status="Unknown", reason=Reason.INSPECTING, message="Reading the model's config")
WORDS = "The engine ended with exit code 1: out of memory"
FAILURES = StartFailures(revision="r2", count=1, last_at=at(-9), message=WORDS)
ROLLOUT = RolloutStatus(
    revision="r2", serving_revision="r1", first_difference="spec.engine.args: [] -> ['-x']"
)
HUB = {"model": {"source": "hf://Qwen/Qwen3-8B"}}
PRIVATE = {"model": {"source": "hf://Qwen/Qwen3-8B", "credentialsSecretRef": {"name": "hf"}}}
UNREAD: dict[str, Any] = {"facts": None, "facts_stored": False}


def a_plan(replicas: int = 0, *, start_failed: str = "", **fields: Any) -> Plan:
    scale = Scale(replicas=replicas, why="a test", start_failed=start_failed)
    return Plan(**{"sizing": SIZED, "scale": scale, "inspect": Step.NONE, "requeue_after": None, **fields})


def said(
    kind: ConditionType, plan: Plan, world: dict[str, Any] | None = None, spec: dict[str, Any] | None = None
) -> str:
    words = conditions_of(an_owner(spec), observed(**(world or {})), plan)[kind]
    return f"{words.status}/{words.reason}: {words.message}"


@pytest.mark.parametrize(
    ("spec", "world", "words"),
    [
        pytest.param({}, {}, "True/Valid: The spec is understood.", id="a spec that is understood"),
        pytest.param(
            {},
            {"name_taken_by": ObjectKey("team-b", "qwen")},
            "True/NameTaken: metadata.name: the short name 'qwen' leads to team-b/qwen, which is older; "
            "callers reach this one as 'team-a/qwen'",
            id="a name that an older one has",
        ),
        pytest.param(
            {"model": {"source": "pvc://models/qwen", "servedName": "chat"}},
            {"name_taken_by": ObjectKey("team-b", "qwen")},
            "True/NameTaken: spec.model.servedName: the short name 'chat' leads to team-b/qwen, which is "
            "older; callers reach this one as 'team-a/qwen'",
            id="a served name that an older one has",
        ),
    ],
)
def test_accepted(spec: dict[str, Any], world: dict[str, Any], words: str) -> None:
    assert said(ConditionType.ACCEPTED, a_plan(), world, spec) == words


@pytest.mark.parametrize(
    ("sizing", "words"),
    [
        pytest.param(SIZED, "True/Fits: 1 GPU holds it", id="the arithmetic"),
        pytest.param(NO_PLAN, "False/NoAccelerator: no node has a GPU", id="no plan"),
        pytest.param(LOOKING, "Unknown/Inspecting: Reading the model's config", id="not yet a plan"),
    ],
)
def test_planned(sizing: Sized | NoSizing, words: str) -> None:
    assert said(ConditionType.PLANNED, a_plan(sizing=sizing)) == words


@pytest.mark.parametrize(
    ("spec", "world", "words"),
    [
        pytest.param({}, {}, f"True/InVolume: {Reason.IN_VOLUME.sentence}", id="files in a volume"),
        pytest.param(HUB, {}, f"True/ReadAtStart: {Reason.READ_AT_START.sentence}", id="files at a hub"),
        pytest.param(
            {},
            {**UNREAD, "inspection": Inspection(state="running", message="Reading it")},
            "Unknown/Inspecting: Reading it",
            id="being read",
        ),
        pytest.param(
            HUB,
            {
                **UNREAD,
                "inspection": Inspection(
                    state="failed", reason=Reason.MODEL_NOT_FOUND, message="no such repository"
                ),
            },
            "False/ModelNotFound: no such repository",
            id="not there",
        ),
        pytest.param(
            {},
            {
                **UNREAD,
                "inspection": Inspection(
                    state="running", message='Reading: persistentvolumeclaim "models" not found.'
                ),
            },
            "False/VolumeNotFound: PersistentVolumeClaim team-a/models of spec.model.source does not exist; "
            "create it",
            id="no such claim",
        ),
        pytest.param(
            {},
            {"pods": (a_pod(waits_for='persistentvolumeclaim "models" not found.'),)},
            "False/VolumeNotFound: PersistentVolumeClaim team-a/models of spec.model.source does not exist; "
            "create it",
            id="a claim that was deleted since",
        ),
        pytest.param(
            PRIVATE,
            {
                **UNREAD,
                "inspection": Inspection(
                    state="running", message='CreateContainerConfigError: secret "hf" not found'
                ),
            },
            "False/CredentialsNotFound: Secret team-a/hf of spec.model.credentialsSecretRef does not exist; "
            "create it",
            id="no such Secret",
        ),
        pytest.param(
            PRIVATE,
            {
                **UNREAD,
                "inspection": Inspection(
                    state="running",
                    message="CreateContainerConfigError: couldn't find key token in Secret team-a/hf",
                ),
            },
            "False/CredentialsNotFound: Secret team-a/hf of spec.model.credentialsSecretRef has no key "
            "`token`; "
            "add it",
            id="a Secret without a token",
        ),
        pytest.param(
            PRIVATE,
            {**UNREAD, "inspection": Inspection(state="running", message="Reading it")},
            "Unknown/Inspecting: Reading it",
            id="a Secret as it should be",
        ),
    ],
)
def test_weights_ready(spec: dict[str, Any], world: dict[str, Any], words: str) -> None:
    assert said(ConditionType.WEIGHTS_READY, a_plan(), world, spec) == words


@pytest.mark.parametrize(
    ("plan", "world", "words"),
    [
        pytest.param(a_plan(), {}, f"False/Stable: {Reason.STABLE.sentence}", id="asleep"),
        pytest.param(
            a_plan(1), {"pods": (READY,)}, f"False/Stable: {Reason.STABLE.sentence}", id="all there and ready"
        ),
        pytest.param(a_plan(1), {}, f"True/ScalingUp: {Reason.SCALING_UP.sentence}", id="woken, no pod yet"),
        pytest.param(
            a_plan(1), {"pods": (PULLING,)}, "True/ScalingUp: ErrImagePull: no such host", id="held back"
        ),
        pytest.param(
            a_plan(1),
            {"pods": (WAITING,), "engines": (an_engine_set("r2"),)},
            "True/WaitingForGPU: A replica needs 1 free GPU of GPU-24GB on one node, and no node has so many "
            "free (the largest has 4)",
            id="no GPU is free",
        ),
        pytest.param(
            a_plan(0), {"pods": (ENDING,)}, f"True/ScalingDown: {Reason.SCALING_DOWN.sentence}", id="ending"
        ),
        pytest.param(
            a_plan(1),
            {"pods": (READY, a_pod("b", ready=NOW))},
            f"True/ScalingDown: {Reason.SCALING_DOWN.sentence}",
            id="one too many",
        ),
        pytest.param(
            a_plan(1, rollout=ROLLOUT),
            {"pods": (READY,)},
            "True/RollingOut: Replicas are being replaced: spec.engine.args: [] -> ['-x']",
            id="a rollout names the first difference",
        ),
        pytest.param(
            a_plan(1, rollout=ROLLOUT),
            {"pods": (READY, PULLING)},
            "True/RollingOut: Replicas are being replaced: spec.engine.args: [] -> ['-x']; "
            "ErrImagePull: no such host",
            id="and what holds the new replica back",
        ),
        pytest.param(
            a_plan(1, rollout=ROLLOUT),
            {"pods": (READY, WAITING), "engines": (an_engine_set("r2"),)},
            "True/WaitingForGPU: A replica needs 1 free GPU of GPU-24GB on one node, and no node has so many "
            "free (the largest has 4)",
            id="a rollout that finds no GPU",
        ),
        pytest.param(
            a_plan(0, start_failed=WORDS, start_failures=FAILURES),
            {},
            f"False/StartFailed: {WORDS}",
            id="a failed start that nothing outlives",
        ),
        pytest.param(
            a_plan(1, rollout=ROLLOUT, start_failures=FAILURES),
            {"pods": (READY,)},
            f"False/RolloutFailed: {WORDS}; the former replicas serve, and the start is tried again",
            id="a rollout that fails while the former replicas serve",
        ),
        pytest.param(
            a_plan(1, rollout=ROLLOUT, start_failures=FAILURES, rolled_back=True),
            {"pods": (READY,)},
            f"False/RolledBack: {WORDS}; the former replicas serve until the spec changes again",
            id="a rollout that was taken back",
        ),
        pytest.param(
            a_plan(1, start_failures=FAILURES),
            {"pods": (READY,)},
            f"False/StartFailed: A further replica cannot start, the others serve: {WORDS}",
            id="a further replica that cannot start",
        ),
    ],
)
def test_progressing(plan: Plan, world: dict[str, Any], words: str) -> None:
    assert said(ConditionType.PROGRESSING, plan, world) == words


@pytest.mark.parametrize(
    ("spec", "plan", "world", "words"),
    [
        pytest.param({}, a_plan(1), {"pods": (READY,)}, "True/Serving", id="a replica is ready"),
        pytest.param({}, a_plan(1), {"pods": (STARTING,)}, "Unknown/Waking", id="one starts"),
        pytest.param({}, a_plan(0, start_failed=WORDS), {}, "False/StartFailed", id="the start failed"),
        pytest.param({}, a_plan(), {}, "False/Idle", id="asleep on purpose"),
        pytest.param({}, a_plan(sizing=NO_PLAN), {}, "Unknown/Pending", id="no plan"),
        pytest.param({"suspend": True}, a_plan(), {}, "False/Suspended", id="suspended"),
        pytest.param(
            {"suspend": True}, a_plan(), {"pods": (READY,)}, "True/Serving", id="suspended, still serving"
        ),
        pytest.param({"replicas": 0}, a_plan(), {}, "False/PinnedToZero", id="pinned to zero"),
    ],
)
def test_active(spec: dict[str, Any], plan: Plan, world: dict[str, Any], words: str) -> None:
    assert said(ConditionType.ACTIVE, plan, world, spec).partition(":")[0] == words


@pytest.mark.parametrize(
    ("spec", "plan", "world", "words"),
    [
        pytest.param({}, a_plan(), {}, "True/Ready False/Stable False/Stable", id="asleep is healthy"),
        pytest.param({}, a_plan(1), {}, "True/Ready False/Stable False/Stable", id="waking is healthy"),
        pytest.param(
            {"suspend": True},
            a_plan(sizing=NO_PLAN),
            {},
            "True/Suspended False/Stable False/Stable",
            id="suspended is what the user wants, plan or not",
        ),
        pytest.param(
            {"replicas": 0},
            a_plan(),
            {},
            "True/PinnedToZero False/Stable False/Stable",
            id="so is pinned to zero",
        ),
        pytest.param(
            {},
            a_plan(sizing=LOOKING),
            UNREAD,
            "Unknown/Inspecting False/Stable False/Stable",
            id="being inspected",
        ),
        pytest.param(
            {},
            a_plan(sizing=NO_PLAN),
            {"pods": (READY,)},
            "False/NoAccelerator True/NoAccelerator False/Stable",
            id="no plan any more, but a replica still serves",
        ),
        pytest.param(
            {},
            a_plan(),
            {"pods": (a_pod(waits_for='persistentvolumeclaim "models" not found'),)},
            "False/VolumeNotFound True/VolumeNotFound False/Stable",
            id="no weights",
        ),
        pytest.param(
            {},
            a_plan(sizing=LOOKING),
            {
                **UNREAD,
                "inspection": Inspection(
                    state="running", message='Reading: persistentvolumeclaim "models" not found'
                ),
            },
            "False/VolumeNotFound True/VolumeNotFound False/Stable",
            id="no weights, which is worse than no plan yet",
        ),
        pytest.param(
            {},
            a_plan(0, start_failed=WORDS, start_failures=FAILURES),
            {},
            "False/StartFailed True/StartFailed False/Stable",
            id="a failed start",
        ),
        pytest.param(
            {},
            a_plan(1, rollout=ROLLOUT),
            {"pods": (READY,)},
            "True/Ready False/Stable True/RollingOut",
            id="a rollout goes on",
        ),
        pytest.param(
            {},
            a_plan(1, rollout=ROLLOUT, start_failures=FAILURES),
            {"pods": (READY,)},
            "True/Ready True/RolloutFailed False/Stable",
            id="a rollout that fails leaves it ready, and stalled",
        ),
        pytest.param(
            {},
            a_plan(1, rollout=ROLLOUT, start_failures=FAILURES, rolled_back=True),
            {"pods": (READY,)},
            "True/Ready True/RolledBack False/Stable",
            id="so does one that was taken back",
        ),
        pytest.param(
            {},
            a_plan(1, start_failures=FAILURES),
            {"pods": (READY,)},
            "True/Ready True/StartFailed False/Stable",
            id="and a further replica that cannot start",
        ),
        pytest.param(
            {},
            a_plan(1),
            {"pods": (WAITING,), "engines": (an_engine_set("r2"),)},
            "True/Ready False/Stable False/Stable",
            id="waiting for a GPU is waiting",
        ),
    ],
)
def test_the_sums(spec: dict[str, Any], plan: Plan, world: dict[str, Any], words: str) -> None:
    kinds = (ConditionType.READY, ConditionType.STALLED, ConditionType.RECONCILING)
    assert " ".join(said(kind, plan, world, spec).partition(":")[0] for kind in kinds) == words


def test_a_refusal_says_why_and_still_reports_what_serves() -> None:
    refusal = Said.of("False", Reason.NOT_OWNED, "Service a/b is somebody else's")
    conditions = refused(refusal, observed(pods=(READY,)))
    assert {kind.value: f"{words.status}/{words.reason}" for kind, words in conditions.items()} == {
        "Accepted": "False/NotOwned",
        "Planned": "Unknown/Pending",
        "WeightsReady": "Unknown/Pending",
        "Progressing": "Unknown/Pending",
        "Active": "True/Serving",
        "Ready": "False/NotOwned",
        "Stalled": "True/NotOwned",
        "Reconciling": "False/Stable",
    }
    assert conditions[ConditionType.STALLED].message == "Service a/b is somebody else's"


def test_every_type_has_a_condition_in_the_order_of_the_documentation() -> None:
    assert list(conditions_of(an_owner(), observed(), a_plan())) == list(ConditionType)


def test_every_type_and_reason_has_a_sentence() -> None:
    for word in (*ConditionType, *Reason):
        assert word.sentence.endswith(".")

"""Conditions from what was observed: one row per sentence the status can say."""

from __future__ import annotations

from typing import Any

import pytest

from tertium.api.conditions import ConditionType, Reason
from tertium.api.v1alpha1 import LLMDeploymentStatus
from tertium.core.decide import decide
from tertium.core.lifecycle import StartFailure
from tertium.core.observed import Owner
from tertium.core.status import Said, project_refusal, project_status
from tests.factories import NOW, POLICY, a_pod, an_owner, at, observed, quiet, seconds

READY = a_pod(ready=NOW - seconds(5))
STARTING = a_pod()
ENDING = a_pod("qwen-engine-2", terminating=True)
FAILED = a_pod(failure=StartFailure(words="ValueError: too long", exit_code=1))
WAITING = a_pod(unschedulable=True, waits_for="0/2 nodes are available: 2 Insufficient nvidia.com/gpu.")
PULLING = a_pod(waits_for="ErrImagePull: no such host")
LIVE = {"demand_until": NOW + seconds(9)}
LOAD = {"load": quiet(1)}


def status_of(owner: Owner, world: dict[str, Any]) -> LLMDeploymentStatus:
    seen = observed(**world)
    return project_status(owner.identity, seen, decide(owner, seen, POLICY, NOW), POLICY, NOW)


def said(status: LLMDeploymentStatus) -> dict[str, tuple[str, str]]:
    return {condition.type: (condition.status, condition.reason) for condition in status.conditions}


@pytest.mark.parametrize(
    ("world", "progressing", "active", "ready"),
    [
        pytest.param({}, "False/Stable", "False/Idle", "True/Ready", id="asleep on purpose is healthy"),
        pytest.param(LIVE, "True/ScalingUp", "Unknown/Waking", "True/Ready", id="woken, no pod yet"),
        pytest.param(
            {"replicas": 1, "pods": (STARTING,), **LIVE},
            "True/ScalingUp",
            "Unknown/Waking",
            "True/Ready",
            id="a replica starts",
        ),
        pytest.param(
            {"replicas": 1, "pods": (READY,), **LOAD},
            "False/Stable",
            "True/Serving",
            "True/Ready",
            id="a replica serves",
        ),
        pytest.param(
            {"replicas": 1, "pods": (WAITING,), **LIVE},
            "True/WaitingForGPU",
            "Unknown/Waking",
            "True/Ready",
            id="no GPU is free",
        ),
        pytest.param(
            {"replicas": 0, "pods": (ENDING,)},
            "True/ScalingDown",
            "False/Idle",
            "True/Ready",
            id="the last replica is ending",
        ),
        pytest.param(
            {"replicas": 1, "pods": (FAILED,), **LIVE},
            "False/StartFailed",
            "False/StartFailed",
            "False/StartFailed",
            id="the start failed",
        ),
        pytest.param(
            {"pools": (), "facts_stored": True},
            "False/Stable",
            "Unknown/Pending",
            "False/NoAccelerator",
            id="no node has a GPU",
        ),
        pytest.param(
            {"pools": (), "replicas": 1, "pods": (READY,)},
            "False/Stable",
            "True/Serving",
            "False/NoAccelerator",
            id="no plan any more, but a replica still serves",
        ),
    ],
)
def test_conditions(world: dict[str, Any], progressing: str, active: str, ready: str) -> None:
    conditions = said(status_of(an_owner(), world))
    kinds = (ConditionType.PROGRESSING, ConditionType.ACTIVE, ConditionType.READY)
    assert ["/".join(conditions[kind]) for kind in kinds] == [progressing, active, ready]


def test_every_condition_is_always_there_and_about_the_generation_seen() -> None:
    status = status_of(an_owner(generation=7), {})
    assert [condition.type for condition in status.conditions] == list(ConditionType)
    assert {condition.observed_generation for condition in status.conditions} == {7}
    assert status.observed_generation == 7


@pytest.mark.parametrize(
    ("world", "kind", "message"),
    [
        pytest.param(
            {"replicas": 1, "pods": (WAITING,), **LIVE},
            ConditionType.PROGRESSING,
            "0/2 nodes are available: 2 Insufficient nvidia.com/gpu.",
            id="the scheduler's words when it waits for a GPU",
        ),
        pytest.param(
            {"replicas": 1, "pods": (PULLING,), **LIVE},
            ConditionType.PROGRESSING,
            "ErrImagePull: no such host",
            id="the kubelet's words while an image does not come",
        ),
        pytest.param(
            {"replicas": 1, "pods": (FAILED,), **LIVE},
            ConditionType.ACTIVE,
            "The engine ended with exit code 1: ValueError: too long",
            id="the engine's words when it could not start",
        ),
    ],
)
def test_messages(world: dict[str, Any], kind: ConditionType, message: str) -> None:
    status = status_of(an_owner(), world)
    assert next(condition.message for condition in status.conditions if condition.type == kind) == message


def test_a_refusal_says_why_and_still_reports_what_serves() -> None:
    refusal = Said(status="False", reason=Reason.NOT_OWNED, message="Service a/b is somebody else's")
    status = project_refusal(an_owner().identity, observed(replicas=1, pods=(READY,)), refusal, POLICY, NOW)
    assert said(status) == {
        "Accepted": ("False", "NotOwned"),
        "Planned": ("Unknown", "Pending"),
        "Progressing": ("Unknown", "Pending"),
        "Active": ("True", "Serving"),
        "Ready": ("False", "NotOwned"),
    }
    assert status.ready_replicas == 1


def test_a_condition_keeps_its_time_while_its_status_stays() -> None:
    before = status_of(an_owner(), {})
    owner = an_owner(status=before)
    seen = observed()
    later = NOW + seconds(100)
    after = project_status(owner.identity, seen, decide(owner, seen, POLICY, later), POLICY, later)
    assert after == before


def test_a_start_that_fails_gets_a_new_time_though_active_was_false_before() -> None:
    idle = status_of(an_owner(), {})
    old = tuple(
        condition.model_copy(update={"last_transition_time": at(-500)}) for condition in idle.conditions
    )
    owner = an_owner(status=idle.model_copy(update={"conditions": old}))
    status = status_of(owner, {"replicas": 1, "pods": (FAILED,)})
    times = {condition.type: condition.last_transition_time for condition in status.conditions}
    assert (times["Active"], times["Accepted"]) == (at(0), at(-500))


def test_the_last_start_is_remembered_when_its_pod_is_gone() -> None:
    served = status_of(an_owner(), {"replicas": 1, "pods": (READY,), **LOAD})
    assert served.cold_start.last is not None
    assert [(phase.name, phase.millis) for phase in served.cold_start.last.phases] == [
        ("scheduling", 1000),
        ("container", 1000),
        ("engine", 53_000),
    ]
    assert served.cold_start.last.total_millis == 55_000
    assert status_of(an_owner(status=served), {}).cold_start == served.cold_start

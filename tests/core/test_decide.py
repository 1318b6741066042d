"""The whole decision: how placement, starts, scaling and rollout act together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tertium.api.conditions import ConditionType, Reason
from tertium.api.meta import Condition
from tertium.api.v1alpha1 import LLMDeploymentStatus, RolloutStatus, ScalingStatus, StartFailures
from tertium.core import decide as decisions
from tertium.core import scaling
from tertium.core.decide import decide
from tertium.core.errors import Terminal
from tertium.core.failure import StartFailure
from tertium.core.inspection import Inspection, Step
from tertium.core.observed import Observed
from tertium.core.plan import NoSizing, Plan
from tests.factories import (
    NOW,
    POLICY,
    a_blueprint,
    a_pod,
    an_engine_set,
    an_owner,
    at,
    observed,
    quiet,
    seconds,
)

PLAIN = a_blueprint().revision
CHANGED = {"engine": {"args": ["--seed=1"]}}
NEW = a_blueprint(CHANGED).revision
WORDS = "The engine ended with exit code 1: ValueError: too long"
BROKEN = StartFailure(words="ValueError: too long", exit_code=1)
FAILED = a_pod("failed", failure=BROKEN)
READY = a_pod("ready", ready=NOW - seconds(1000))
LIVE = {"demand_until": NOW + seconds(9)}
UP_TO_3 = {"scaling": {"maxReplicas": 3, "idleSeconds": 10}}
AT_LEAST_2 = {"scaling": {"minReplicas": 2, "maxReplicas": 3}}


def remembered(offset: float, *, count: int = 1, revision: str = PLAIN) -> LLMDeploymentStatus:
    """The status that remembers a failed start."""
    last = StartFailures(revision=revision, count=count, last_at=at(offset), message="remembered words")
    return LLMDeploymentStatus(start_failures=last)


def planned(spec: dict[str, Any], world: Observed, status: LLMDeploymentStatus | None = None) -> Plan:
    return decide(an_owner(spec, status=status), world, POLICY, NOW)


def row(
    spec: dict[str, Any], status: LLMDeploymentStatus | None, world: dict[str, Any], *expected: Any, id: str
) -> Any:
    """Expected are the replicas, what is told to those who wait, and when to ask again, if at all."""
    return pytest.param(spec, status, world, (*expected, None)[:3], id=id)


@pytest.mark.parametrize(
    ("spec", "status", "world", "expected"),
    [
        row({}, None, {"replicas": 1, "pods": (FAILED,)}, 0, WORDS, 60.0, id="a failing start is stopped"),
        row({}, remembered(-20), LIVE, 0, "remembered words", 40.0, id="demand waits for the rest to end"),
        row({}, remembered(-20), {}, 0, "remembered words", 40.0, id="the words stay for the rest"),
        row({}, remembered(-60), LIVE, 1, "", None, id="after the rest demand tries again"),
        row(
            {},
            remembered(-61),
            {"replicas": 1, "pods": (FAILED,)},
            0,
            WORDS,
            120.0,
            id="a second failure rests for longer",
        ),
        row(
            {},
            remembered(-20),
            {"replicas": 0, "pods": (FAILED,)},
            0,
            "remembered words",
            40.0,
            id="a failing pod that is still there does not prolong the rest",
        ),
        row({}, remembered(-20, revision="other"), LIVE, 1, "", None, id="a changed spec tries at once"),
        row(
            AT_LEAST_2,
            None,
            {"replicas": 2, "pods": (FAILED, READY)},
            1,
            "",
            60.0,
            id="a failing replica beside a serving one frees its GPUs",
        ),
        row(
            AT_LEAST_2,
            remembered(-20),
            {"replicas": 1, "pods": (READY,)},
            1,
            "",
            40.0,
            id="and rests, though more are wanted",
        ),
        row(
            UP_TO_3,
            remembered(-20),
            {"replicas": 1, "pods": (READY,), "load": quiet(99)},
            0,
            "",
            40.0,
            id="what serves may sleep meanwhile",
        ),
        row(
            {"replicas": 1},
            None,
            {"replicas": 1, "pods": (FAILED,)},
            0,
            WORDS,
            60.0,
            id="a pinned start rests",
        ),
        row({"replicas": 0}, remembered(-20), {}, 0, "", 40.0, id="pinned to zero is no failure"),
        row({"suspend": True}, remembered(-20), {}, 0, "", 40.0, id="nor is suspended"),
        row(
            {"engine": {"startSeconds": 100}},
            None,
            {"replicas": 1, "pods": (a_pod(),), **LIVE},
            1,
            "",
            9.0,
            id="a start is let take its time",
        ),
        row(
            {"engine": {"startSeconds": 60}},
            None,
            {"replicas": 1, "pods": (a_pod(),)},
            1,
            "",
            2.0,
            id="it is looked at again when that is over",
        ),
        row(
            {"engine": {"startSeconds": 58}},
            None,
            {"replicas": 1, "pods": (a_pod(),)},
            0,
            "The engine did not answer /health within the 58 s of spec.engine.startSeconds",
            60.0,
            id="a start that takes longer has failed",
        ),
    ],
)
def test_rest_after_a_failed_start(
    spec: dict[str, Any],
    status: LLMDeploymentStatus | None,
    world: dict[str, Any],
    expected: tuple[int, str, float | None],
) -> None:
    scale = (plan := planned(spec, observed(**world), status)).scale
    assert (scale.replicas, scale.start_failed, plan.requeue_after) == expected


def test_a_rest_says_which_rule_it_was() -> None:
    scale = planned({}, observed(demand_until=NOW + seconds(9)), remembered(-20)).scale
    assert (scale.why, scale.rule) == (decisions.START_FAILED, "rest_after_failed_start")


def goals(plan: Plan) -> dict[str, int]:
    return {goal.revision: goal.replicas for goal in plan.engines}


def rolling(*pods: Any, old: int, new: int | None, **fields: Any) -> Observed:
    engines = [an_engine_set(replicas=old)]
    if new is not None:
        engines.insert(0, an_engine_set(of=a_blueprint(CHANGED), replicas=new))
    return replace(observed(pods=pods, **fields), engines=tuple(engines))


ROLLING = LLMDeploymentStatus(
    rollout=RolloutStatus(revision=NEW, serving_revision=PLAIN, first_difference="spec.engine.args: …"),
    scaling=ScalingStatus(desired=1, why="-"),
)


@pytest.mark.parametrize(
    ("spec", "world", "status", "expected"),
    [
        pytest.param(
            CHANGED,
            rolling(READY, old=1, new=None, load=quiet(0, in_flight=1)),
            None,
            {NEW: 1, PLAIN: 1},
            id="a changed spec starts beside what serves",
        ),
        pytest.param(
            {**CHANGED, "replicas": 2},
            rolling(READY, old=1, new=1, load=quiet(0)),
            ROLLING,
            {NEW: 2, PLAIN: 1},
            id="a pinned count holds through a rollout",
        ),
        pytest.param(
            CHANGED,
            rolling(READY, replace(FAILED, revision=NEW), old=1, new=1, load=quiet(0, in_flight=1)),
            ROLLING,
            {NEW: 0, PLAIN: 1},
            id="one that fails leaves what serves alone",
        ),
        pytest.param(
            {**CHANGED, **UP_TO_3},
            rolling(READY, old=1, new=0, load=quiet(0, in_flight=9)),
            ROLLING.model_copy(update={"start_failures": remembered(-9, revision=NEW).start_failures}),
            {NEW: 0, PLAIN: 3},
            id="and what serves still grows with its load",
        ),
        pytest.param(
            CHANGED,
            rolling(READY, old=1, new=0, load=quiet(9999)),
            ROLLING.model_copy(update={"start_failures": remembered(-9, revision=NEW).start_failures}),
            {NEW: 0, PLAIN: 0},
            id="and sleeps when it is idle",
        ),
        pytest.param(
            {**CHANGED, "suspend": True},
            rolling(READY, old=1, new=1),
            ROLLING,
            {NEW: 0, PLAIN: 0},
            id="suspended ends both",
        ),
    ],
)
def test_rollouts(
    spec: dict[str, Any],
    world: Observed,
    status: LLMDeploymentStatus | None,
    expected: dict[str, int],
) -> None:
    assert goals(planned(spec, world, status)) == expected


def test_a_failed_rollout_says_so_to_nobody_who_waits() -> None:
    world = rolling(READY, replace(FAILED, revision=NEW), old=1, new=1, load=quiet(0, in_flight=1))
    plan = planned(CHANGED, world, ROLLING)
    assert plan.start_failures is not None
    assert (plan.start_failures.revision, plan.scale.start_failed, plan.scale.why) == (NEW, "", scaling.AWAKE)
    assert plan.requeue_after == 60.0


def test_a_rollback_is_said() -> None:
    world = rolling(READY, replace(FAILED, revision=NEW), old=1, new=1, load=quiet(0, in_flight=1))
    plan = planned({**CHANGED, "rollout": {"onFailure": "Rollback"}}, world, ROLLING)
    assert (plan.rolled_back, goals(plan)) == (True, {NEW: 0, PLAIN: 1})


def test_a_deployment_of_before_there_were_revisions_is_replaced_like_any_other() -> None:
    legacy = an_engine_set("unversioned", replicas=1)
    pod = a_pod(revision="unversioned", ready=NOW - seconds(9))
    world = replace(observed(pods=(pod,), load=quiet(0, in_flight=1)), engines=(legacy,))
    plan = planned({}, world)
    assert goals(plan) == {PLAIN: 1, "unversioned": 1}
    assert plan.rollout == RolloutStatus(
        revision=PLAIN,
        serving_revision="unversioned",
        first_difference="the running replicas were made by an earlier version of Tertium",
    )


def test_an_empty_one_is_dropped() -> None:
    world = replace(observed(), engines=(an_engine_set("unversioned"),))
    assert [(goal.revision, goal.drop) for goal in planned({}, world).engines] == [
        (PLAIN, False),
        ("unversioned", True),
    ]


def test_scaling_down_prices_the_replicas() -> None:
    idle = a_pod("idle", ready=NOW - seconds(9), streams=0)
    busy = a_pod("busy", ready=NOW - seconds(9), streams=3)
    assert planned({"replicas": 1}, observed(replicas=2, pods=(busy, idle))).costs == {"idle": -1, "busy": 0}


def test_a_failed_inspection_is_asked_about_again_when_its_retry_is_due() -> None:
    failed = Inspection(
        state="failed", reason=Reason.MODEL_NOT_FOUND, message="no such folder", failed_at=NOW - seconds(45)
    )
    plan = planned({}, observed(facts=None, facts_stored=False, inspection=failed))
    assert plan.sizing == NoSizing(status="False", reason=Reason.MODEL_NOT_FOUND, message="no such folder")
    assert (plan.inspect, plan.requeue_after) == (Step.WAIT, 15.0)


def test_an_argument_that_contradicts_the_plan_is_refused_by_both_values() -> None:
    with pytest.raises(Terminal, match=r"spec\.engine\.args\[0\].*--gpu_memory_utilization=0\.5"):
        planned({"engine": {"args": ["--gpu_memory_utilization=0.5"]}}, observed())


def asleep(offset: float, status: str = "False") -> LLMDeploymentStatus:
    active = Condition(
        type=ConditionType.ACTIVE,
        status=status,
        reason=Reason.IDLE,
        last_transition_time=at(offset),
    )
    return LLMDeploymentStatus(conditions=(active,))


@pytest.mark.parametrize(
    ("spec", "status", "world", "expected"),
    [
        pytest.param({}, asleep(-9999), {}, ("", None), id="by default it stays for ever"),
        pytest.param(
            {"expireAfterSeconds": 86_401}, None, {}, ("", 1.0), id="before its time it is asked again then"
        ),
        pytest.param(
            {"expireAfterSeconds": 86_400},
            None,
            {"replicas": 1, "pods": (READY,)},
            ("spec.expireAfterSeconds have passed since its creation", 10.0),
            id="at its time it goes, even while it serves",
        ),
        pytest.param(
            {"deleteAfterIdleSeconds": 60},
            asleep(-60),
            {},
            ("it has had no replica for spec.deleteAfterIdleSeconds", None),
            id="idle for long enough",
        ),
        pytest.param({"deleteAfterIdleSeconds": 60}, asleep(-45), {}, ("", 15.0), id="not idle long enough"),
        pytest.param({"deleteAfterIdleSeconds": 60}, asleep(-99), LIVE, ("", None), id="somebody waits"),
        pytest.param(
            {"deleteAfterIdleSeconds": 60},
            asleep(-99),
            {"pods": (a_pod(terminating=True),)},
            ("", None),
            id="the last replica still finishes",
        ),
        pytest.param(
            {"deleteAfterIdleSeconds": 60},
            asleep(-99, "True"),
            {},
            ("", None),
            id="it was active when last looked at",
        ),
        pytest.param({"deleteAfterIdleSeconds": 60}, None, {}, ("", None), id="it was never looked at"),
    ],
)
def test_a_deployment_may_ask_to_be_deleted(
    spec: dict[str, Any],
    status: LLMDeploymentStatus | None,
    world: dict[str, Any],
    expected: tuple[str, float | None],
) -> None:
    plan = planned(spec, observed(**world), status)
    assert (plan.delete_owner, plan.requeue_after) == expected

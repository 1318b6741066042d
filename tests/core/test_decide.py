"""The rules' truth tables, row by row, and their order."""

from __future__ import annotations

from typing import Any

import pytest

from tertium.api.conditions import ConditionType, Reason
from tertium.api.meta import Condition
from tertium.api.v1alpha1 import LLMDeploymentStatus
from tertium.core import decide as rules
from tertium.core.decide import decide
from tertium.core.errors import Terminal
from tertium.core.inspection import Inspection, Step
from tertium.core.lifecycle import StartFailure
from tertium.core.plan import NoSizing
from tertium.core.planner import GpuPool, Sizing
from tests.factories import NOW, POLICY, POOL, a_pod, an_owner, at, observed, quiet, seconds

FAILED = a_pod(failure=StartFailure(words="ValueError: too long", exit_code=1))
FAILED_WORDS = "The engine ended with exit code 1: ValueError: too long"
READY = a_pod(ready=NOW - seconds(1000))
JUST_READY = a_pod(ready=NOW - seconds(4))
NO_GPU = {"pools": ()}
LIVE = {"demand_until": NOW + seconds(9)}
GONE = {"demand_until": NOW}
UP_TO_3 = {"scaling": {"maxReplicas": 3, "idleSeconds": 10}}
AT_LEAST_1 = {"scaling": {"minReplicas": 1, "maxReplicas": 3, "idleSeconds": 10}}


def failed_at(offset: float, generation: int = 1) -> LLMDeploymentStatus:
    """The status that remembers a failed start."""
    active = Condition(
        type=ConditionType.ACTIVE,
        status="False",
        reason=Reason.START_FAILED,
        message="remembered words",
        observed_generation=generation,
        last_transition_time=at(offset),
    )
    return LLMDeploymentStatus(conditions=(active,))


def row(
    spec: dict[str, Any], world: dict[str, Any], replicas: int, why: str, ask: float | None = None, *, id: str
) -> Any:
    return pytest.param(spec, world, replicas, why, ask, id=id)


PINNED_3 = {"replicas": 3}
ROWS = [
    row(PINNED_3, {"replicas": 1}, 3, rules.PINNED, id="a pinned count is obeyed"),
    row({"replicas": 0}, {"replicas": 2, **LIVE}, 0, rules.PINNED, id="pinned to zero wins over demand"),
    row(PINNED_3, {"replicas": 1, **NO_GPU}, 1, rules.NO_PLAN, id="a pin starts nothing without a plan"),
    row(
        {"replicas": 1}, {"replicas": 2, **NO_GPU}, 1, rules.PINNED, id="a pin stops replicas without a plan"
    ),
    row({}, {"replicas": 2, **NO_GPU}, 2, rules.NO_PLAN, id="without a plan what runs stays"),
    row({}, {**NO_GPU, **LIVE}, 0, rules.NO_PLAN, id="without a plan demand starts nothing"),
    row(
        {},
        {"replicas": 1, "pods": (FAILED,)},
        0,
        rules.START_FAILED,
        60.0,
        id="a failing start is stopped at once",
    ),
    row(
        UP_TO_3,
        {"replicas": 2, "pods": (READY, FAILED), "load": quiet(1)},
        2,
        rules.RECENT,
        9.0,
        id="a failing replica beside a serving one is left to the kubelet",
    ),
    row(AT_LEAST_1, {}, 1, rules.MINIMUM, id="fewer than the minimum are brought up to it"),
    row(
        AT_LEAST_1,
        {"replicas": 0, "load": quiet(0, in_flight=9)},
        3,
        rules.MINIMUM,
        id="more than the minimum are started at once when the requests need them",
    ),
    row(UP_TO_3, {"replicas": 5}, 3, rules.MAXIMUM, id="more than the maximum are brought down to it"),
    row({}, LIVE, 1, rules.DEMAND, id="a waiting request wakes one replica"),
    row(
        UP_TO_3,
        {**LIVE, "load": quiet(0, in_flight=9)},
        3,
        rules.DEMAND,
        id="many waiting requests wake as many replicas as they fill",
    ),
    row(
        UP_TO_3,
        {**LIVE, "load": quiet(0, in_flight=99)},
        3,
        rules.DEMAND,
        id="never more than the maximum are woken",
    ),
    row({}, GONE, 0, rules.ASLEEP, id="demand that has run out wakes nothing"),
    row({}, {}, 0, rules.ASLEEP, id="a Lease that was never renewed wakes nothing"),
    row(
        UP_TO_3,
        {"replicas": 1, "pods": (READY,), "load": quiet(0, in_flight=5)},
        2,
        rules.CONCURRENCY,
        id="a fifth request needs a second replica of four sequences",
    ),
    row(
        UP_TO_3,
        {"replicas": 2, "pods": (READY,), "load": quiet(0, in_flight=1)},
        2,
        rules.BUSY,
        id="fewer requests do not scale down while any runs",
    ),
    row(
        UP_TO_3,
        {"replicas": 1, "pods": (READY,), "load": quiet(99), **LIVE},
        1,
        rules.DEMAND,
        9.0,
        id="nothing sleeps while somebody waits",
    ),
    row(
        UP_TO_3,
        {"replicas": 1, "pods": (a_pod(),), "load": quiet(99)},
        1,
        rules.STARTING,
        id="nothing sleeps before it was ready",
    ),
    row(
        UP_TO_3,
        {"replicas": 1, "pods": (READY,)},
        1,
        rules.UNKNOWN_LOAD,
        id="unknown load is not silence",
    ),
    row(
        UP_TO_3,
        {"replicas": 1, "pods": (READY,), "load": quiet(4)},
        1,
        rules.RECENT,
        6.0,
        id="before the limit it is asked again at the limit",
    ),
    row(
        UP_TO_3,
        {"replicas": 1, "pods": (JUST_READY,), "load": quiet(99)},
        1,
        rules.RECENT,
        6.0,
        id="the clock does not start before the replica was ready",
    ),
    row(
        UP_TO_3,
        {"replicas": 2, "pods": (READY,), "load": quiet(10)},
        0,
        rules.IDLE,
        id="at the limit it goes to zero",
    ),
    row(
        AT_LEAST_1,
        {"replicas": 3, "pods": (READY,), "load": quiet(10)},
        1,
        rules.IDLE,
        id="idle goes down to the minimum",
    ),
    row(
        AT_LEAST_1,
        {"replicas": 1, "pods": (READY,), "load": quiet(99)},
        1,
        rules.MINIMUM,
        id="the minimum never sleeps",
    ),
]


@pytest.mark.parametrize(("spec", "world", "replicas", "why", "ask"), ROWS)
def test_replicas(
    spec: dict[str, Any], world: dict[str, Any], replicas: int, why: str, ask: float | None
) -> None:
    plan = decide(an_owner(spec), observed(**world), POLICY, NOW)
    assert (plan.scale.replicas, plan.scale.why, plan.requeue_after) == (replicas, why, ask)


@pytest.mark.parametrize(
    ("status", "generation", "world", "expected"),
    [
        pytest.param(
            failed_at(-20), 1, LIVE, (0, "remembered words", 40.0), id="demand waits for the rest to end"
        ),
        pytest.param(failed_at(-60), 1, LIVE, (1, "", None), id="after the rest demand tries again"),
        pytest.param(failed_at(-20), 2, LIVE, (1, "", None), id="a new generation tries at once"),
        pytest.param(
            failed_at(-20),
            1,
            {"replicas": 0, "pods": (FAILED,)},
            (0, "remembered words", 40.0),
            id="a failing pod that is still there does not prolong the rest",
        ),
        pytest.param(
            failed_at(-20),
            1,
            {"replicas": 1, "pods": (READY,)},
            (1, "", None),
            id="a replica that serves ends the rest",
        ),
    ],
)
def test_rest_after_a_failed_start(
    status: LLMDeploymentStatus,
    generation: int,
    world: dict[str, Any],
    expected: tuple[int, str, float | None],
) -> None:
    owner = an_owner(status=status, generation=generation)
    plan = decide(owner, observed(**world), POLICY, NOW)
    assert (plan.scale.replicas, plan.scale.start_failed, plan.requeue_after) == expected


def test_a_pinned_failing_start_keeps_its_count_and_says_why() -> None:
    plan = decide(an_owner({"replicas": 1}), observed(replicas=1, pods=(FAILED,)), POLICY, NOW)
    assert (plan.scale.replicas, plan.scale.start_failed) == (1, FAILED_WORDS)


def test_a_failed_inspection_is_asked_about_again_when_its_retry_is_due() -> None:
    failed = Inspection(
        state="failed", reason=Reason.MODEL_NOT_FOUND, message="no such folder", failed_at=NOW - seconds(45)
    )
    plan = decide(an_owner(), observed(facts=None, facts_stored=False, inspection=failed), POLICY, NOW)
    assert plan.sizing == NoSizing(status="False", reason=Reason.MODEL_NOT_FOUND, message="no such folder")
    assert (plan.inspect, plan.requeue_after) == (Step.WAIT, 15.0)


def test_a_node_that_joins_moves_no_running_replica() -> None:
    first = decide(an_owner(), observed(), POLICY, NOW)
    assert isinstance(first.sizing, Sizing)
    status = LLMDeploymentStatus(observed_generation=1, plan=first.sizing.status())
    cheaper = GpuPool(product="GPU-8GB", memory_mebibytes=8192, gpus_per_node=4)
    both = {"pools": (cheaper, POOL)}

    running = decide(an_owner(status=status), observed(replicas=1, **both), POLICY, NOW)
    asleep = decide(an_owner(status=status), observed(replicas=0, **both), POLICY, NOW)
    changed = decide(an_owner(status=status, generation=2), observed(replicas=1, **both), POLICY, NOW)

    chosen = [
        plan.sizing.accelerator for plan in (running, asleep, changed) if isinstance(plan.sizing, Sizing)
    ]
    assert chosen == ["GPU-24GB", "GPU-8GB", "GPU-8GB"]


def test_an_argument_that_repeats_a_planned_flag_is_refused_by_both_names() -> None:
    owner = an_owner({"engine": {"args": ["--enforce-eager", "--gpu_memory_utilization=0.5"]}})
    with pytest.raises(Terminal) as refused:
        decide(owner, observed(), POLICY, NOW)
    assert str(refused.value) == (
        "spec.engine.args[1]: '--gpu_memory_utilization=0.5' repeats --gpu-memory-utilization, which is "
        "decided by the plan; remove it"
    )

"""The rules' truth tables, row by row, and their order."""

from __future__ import annotations

from typing import Any

import pytest

from tertium.api.v1alpha1 import ColdStartStatus, LLMDeploymentStatus, StartRecord
from tertium.core import scaling as rules
from tertium.core.scaling import Case, decide_scale, idle_seconds
from tests.factories import NOW, a_pod, an_owner, observed, quiet, seconds

READY = a_pod(ready=NOW - seconds(1000))
JUST_READY = a_pod(ready=NOW - seconds(4))
ON_NO_NODE = a_pod(scheduled=None, started=None, unschedulable=True)
NO_PLAN = {"planned": False}
LIVE = {"demand_until": NOW + seconds(9)}
GONE = {"demand_until": NOW}
UP_TO_3 = {"scaling": {"maxReplicas": 3, "idleSeconds": 10}}
AT_LEAST_1 = {"scaling": {"minReplicas": 1, "maxReplicas": 3, "idleSeconds": 10}}
PINNED_3 = {"replicas": 3}


def row(spec: dict[str, Any], case: dict[str, Any], *expected: Any, id: str) -> Any:
    """Expected are the replicas, why, by which rule, and when to ask again, if at all."""
    return pytest.param(spec, case, (*expected, None)[:4], id=id)


ROWS = [
    row(
        {"suspend": True, **PINNED_3},
        {"replicas": 2, "pods": (READY,), **LIVE},
        0,
        rules.SUSPENDED,
        "suspended",
        id="suspended is zero, whatever else the spec says and whoever waits",
    ),
    row(
        {"suspend": True},
        {"replicas": 2, **NO_PLAN},
        0,
        rules.SUSPENDED,
        "suspended",
        id="suspended needs no plan",
    ),
    row(PINNED_3, {"replicas": 1}, 3, rules.PINNED, "pinned", id="a pinned count is obeyed"),
    row(
        {"replicas": 0},
        {"replicas": 2, **LIVE},
        0,
        rules.PINNED,
        "pinned",
        id="pinned to zero wins over demand",
    ),
    row(
        PINNED_3,
        {"replicas": 1, **NO_PLAN},
        1,
        rules.NO_PLAN,
        "pinned",
        id="a pin starts nothing without a plan",
    ),
    row(
        {"replicas": 1},
        {"replicas": 2, **NO_PLAN},
        1,
        rules.PINNED,
        "pinned",
        id="a pin stops replicas without a plan",
    ),
    row(
        {},
        {"replicas": 2, **NO_PLAN},
        2,
        rules.NO_PLAN,
        "keep_without_plan",
        id="without a plan what runs stays",
    ),
    row(
        {},
        {**NO_PLAN, **LIVE},
        0,
        rules.NO_PLAN,
        "keep_without_plan",
        id="without a plan demand starts nothing",
    ),
    row(AT_LEAST_1, {}, 1, rules.MINIMUM, "stay_in_bounds", id="fewer than the minimum are brought up to it"),
    row(
        AT_LEAST_1,
        {"load": quiet(0, in_flight=9)},
        3,
        rules.MINIMUM,
        "stay_in_bounds",
        id="more than the minimum are started at once when the requests need them",
    ),
    row(
        UP_TO_3,
        {"replicas": 5},
        3,
        rules.MAXIMUM,
        "stay_in_bounds",
        id="more than the maximum are brought down",
    ),
    row({}, LIVE, 1, rules.DEMAND, "wake_on_demand", id="a waiting request wakes one replica"),
    row(
        UP_TO_3,
        {**LIVE, "load": quiet(0, in_flight=9)},
        3,
        rules.DEMAND,
        "wake_on_demand",
        id="many waiting requests wake as many replicas as they fill",
    ),
    row(
        UP_TO_3,
        {**LIVE, "load": quiet(0, in_flight=99)},
        3,
        rules.DEMAND,
        "wake_on_demand",
        id="never more than the maximum are woken",
    ),
    row({}, GONE, 0, rules.ASLEEP, "stay_awake", id="demand that has run out wakes nothing"),
    row({}, {}, 0, rules.ASLEEP, "stay_awake", id="a Lease that was never renewed wakes nothing"),
    row(
        UP_TO_3,
        {"replicas": 1, "pods": (READY,), "load": quiet(0, in_flight=5)},
        2,
        rules.CONCURRENCY,
        "scale_up",
        id="a fifth request needs a second replica of four sequences",
    ),
    row(
        UP_TO_3,
        {"replicas": 2, "pods": (READY,), "load": quiet(0, in_flight=1)},
        2,
        rules.AWAKE,
        "stay_awake",
        id="fewer requests do not scale down while any runs",
    ),
    row(
        UP_TO_3,
        {"replicas": 1, "pods": (READY,), "load": quiet(99), **LIVE},
        1,
        rules.AWAKE,
        "stay_awake",
        9.0,
        id="nothing sleeps while somebody waits",
    ),
    row(
        UP_TO_3,
        {"replicas": 1, "pods": (a_pod(),), "load": quiet(99)},
        1,
        rules.STARTING,
        "stay_awake",
        id="a replica on a node is let start though nobody waits any more",
    ),
    row(
        UP_TO_3,
        {"replicas": 2, "pods": (ON_NO_NODE,), "load": quiet(99)},
        0,
        rules.NOBODY_WAITS,
        "stay_awake",
        id="a start that has no GPU yet and nobody waits for is given up",
    ),
    row(
        UP_TO_3,
        {"replicas": 2, "load": quiet(99)},
        0,
        rules.NOBODY_WAITS,
        "stay_awake",
        id="so is one whose pod could not even be made",
    ),
    row(
        UP_TO_3,
        {"replicas": 1, "pods": (ON_NO_NODE,), "load": quiet(99), **LIVE},
        1,
        rules.DEMAND,
        "stay_awake",
        9.0,
        id="one that somebody waits for is not",
    ),
    row(
        AT_LEAST_1,
        {"replicas": 2, "pods": (ON_NO_NODE,)},
        1,
        rules.NOBODY_WAITS,
        "stay_awake",
        id="the minimum goes on waiting for a GPU",
    ),
    row(
        UP_TO_3,
        {"replicas": 2, "moving": True},
        2,
        rules.STARTING,
        "stay_awake",
        id="a rollout that has just stopped what answered goes on",
    ),
    row(
        UP_TO_3,
        {"replicas": 1, "pods": (READY,)},
        1,
        rules.AWAKE,
        "stay_awake",
        10.0,
        id="unknown load is not silence, and is looked at again",
    ),
    row(
        UP_TO_3,
        {"replicas": 1, "pods": (READY,), "load": quiet(4)},
        1,
        rules.AWAKE,
        "sleep_when_idle",
        6.0,
        id="before the limit it is asked again at the limit",
    ),
    row(
        UP_TO_3,
        {"replicas": 1, "pods": (JUST_READY,), "load": quiet(99)},
        1,
        rules.AWAKE,
        "sleep_when_idle",
        6.0,
        id="the clock does not start before the replica was ready",
    ),
    row(
        UP_TO_3,
        {"replicas": 2, "pods": (READY,), "load": quiet(10)},
        0,
        rules.IDLE,
        "sleep_when_idle",
        id="at the limit it goes to zero",
    ),
    row(
        AT_LEAST_1,
        {"replicas": 3, "pods": (READY,), "load": quiet(10)},
        1,
        rules.IDLE,
        "sleep_when_idle",
        id="idle goes down to the minimum",
    ),
    row(
        AT_LEAST_1,
        {"replicas": 1, "pods": (READY,), "load": quiet(99)},
        1,
        rules.MINIMUM,
        "stay_awake",
        id="the minimum never sleeps",
    ),
]


@pytest.mark.parametrize(("spec", "case", "expected"), ROWS)
def test_replicas(
    spec: dict[str, Any], case: dict[str, Any], expected: tuple[int, str, str, float | None]
) -> None:
    world = {name: value for name, value in case.items() if name not in ("replicas", "planned", "moving")}
    scale = decide_scale(
        Case(
            owner=an_owner(spec),
            observed=observed(**world),
            now=NOW,
            planned=case.get("planned", True),
            replicas=case.get("replicas", 0),
            moving=case.get("moving", False),
        )
    )
    assert (scale.replicas, scale.why, scale.rule, scale.requeue_after) == expected


def test_every_rule_can_be_explained_in_one_sentence() -> None:
    sentences = [(rule.__doc__ or "").split("\n")[0] for rule in rules.RULES]
    assert all(sentence.endswith(".") for sentence in sentences), sentences


@pytest.mark.parametrize(
    ("scaling", "start_millis", "expected"),
    [
        pytest.param({"idleSeconds": 7}, 90_000, 7, id="what the user says"),
        pytest.param({}, 90_400, 90 + 120, id="balanced: the last start and two minutes"),
        pytest.param({"preference": "Economy"}, 90_000, 90 + 30, id="economy: the last start and half a one"),
        pytest.param({"preference": "Interactive"}, 90_000, 90 + 240, id="interactive: four minutes more"),
        pytest.param({}, None, 60 + 120, id="a start never seen counts as a minute"),
    ],
)
def test_an_idle_replica_is_kept_for_what_waking_it_costs(
    scaling: dict[str, Any], start_millis: int | None, expected: int
) -> None:
    last = StartRecord(total_millis=start_millis) if start_millis is not None else None
    status = LLMDeploymentStatus(cold_start=ColdStartStatus(last=last))
    assert idle_seconds(an_owner({"scaling": scaling}, status=status)) == expected

"""What is remembered of starts that failed, and for how long the next one is put off."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tertium.api.v1alpha1 import LLMDeploymentStatus, RolloutStatus, StartFailures
from tertium.core.failure import StartFailure
from tertium.core.lifecycle import EnginePod
from tertium.core.observed import EngineSet, Observed
from tertium.core.starts import RETURNED, Starts, judge_starts
from tests.factories import NOW, a_pod, an_engine_set, an_owner, at, observed, seconds

ROLLBACK = {"rollout": {"onFailure": "Rollback"}}
WORDS = "The engine ended with exit code 1: too long"
BROKEN = StartFailure(words="too long", exit_code=1)
QUOTA = "exceeded quota: gpus"


def pod(revision: str, *, age: float = 30, **fields: Any) -> EnginePod:
    return a_pod(revision=revision, created=NOW - seconds(age), **fields)


def failures(revision: str, count: int, offset: float, message: str = "it broke") -> StartFailures:
    return StartFailures(revision=revision, count=count, last_at=at(offset), message=message)


def a_status(
    last: StartFailures | None = None, *, rollout: tuple[str, str] = ("new", "")
) -> LLMDeploymentStatus:
    return LLMDeploymentStatus(
        start_failures=last, rollout=RolloutStatus(revision=rollout[0], serving_revision=rollout[1])
    )


def judged(
    status: LLMDeploymentStatus | None = None,
    *pods: EnginePod,
    engines: tuple[EngineSet, ...] = (),
    spec: dict[str, Any] | None = None,
    ended: tuple[EnginePod, ...] = (),
) -> Starts:
    world: Observed = replace(observed(pods=pods, ended_pods=ended), engines=engines)
    return judge_starts(an_owner(spec, status=status), world, "new", NOW)


@pytest.mark.parametrize(
    ("starts", "expected"),
    [
        pytest.param(judged(None, pod("new")), None, id="a start that goes well"),
        pytest.param(
            judged(None, pod("new", failure=BROKEN)), failures("new", 1, 0, WORDS), id="a first failure"
        ),
        pytest.param(
            judged(a_status(failures("new", 2, -90)), pod("new", failure=BROKEN)),
            failures("new", 3, 0, WORDS),
            id="one more failure",
        ),
        pytest.param(
            judged(a_status(failures("new", 1, -20)), pod("new", failure=BROKEN)),
            failures("new", 1, -20),
            id="the pod that failed is still there",
        ),
        pytest.param(
            judged(a_status(failures("new", 2, -90)), pod("new", ready=NOW)),
            None,
            id="a start that succeeds ends it",
        ),
        pytest.param(
            judged(a_status(failures("new", 1, -20)), pod("new", ready=NOW)),
            failures("new", 1, -20),
            id="a replica that answered all along does not",
        ),
        pytest.param(
            judged(a_status(failures("old", 4, -20), rollout=("old", ""))),
            None,
            id="a changed spec starts anew",
        ),
        pytest.param(
            judged(a_status(), pod("old", failure=BROKEN)), None, id="what another revision does is nothing"
        ),
        pytest.param(
            judged(None, ended=(pod("new", failure=StartFailure(words="Evicted")),)),
            failures("new", 1, 0, "Evicted"),
            id="a record of an evicted start counts",
        ),
        pytest.param(
            judged(
                None,
                engines=(an_engine_set("new", replicas=1, stuck=QUOTA, stuck_since=NOW - seconds(2)),),
            ),
            failures("new", 1, 0, QUOTA),
            id="a pod that may not be made counts",
        ),
        pytest.param(
            judged(
                a_status(failures("new", 1, -1, QUOTA)),
                engines=(an_engine_set("new", replicas=1, stuck=QUOTA, stuck_since=NOW - seconds(2)),),
            ),
            failures("new", 1, -1, QUOTA),
            id="but once",
        ),
        pytest.param(
            judged(None, pod("new", age=-5, failure=BROKEN)),
            failures("new", 1, 5, WORDS),
            id="a pod of a clock ahead of ours is not counted twice",
        ),
    ],
)
def test_what_is_remembered(starts: Starts, expected: StartFailures | None) -> None:
    assert starts.failures == expected


OLD_SET = an_engine_set("old")
FELL_BACK = ("new", "old")


@pytest.mark.parametrize(
    ("starts", "rolled_back", "expected"),
    [
        pytest.param(
            judged(a_status(rollout=FELL_BACK), pod("new"), engines=(OLD_SET,), spec=ROLLBACK),
            False,
            None,
            id="nothing has failed",
        ),
        pytest.param(
            judged(
                a_status(rollout=FELL_BACK), pod("new", failure=BROKEN), engines=(OLD_SET,), spec=ROLLBACK
            ),
            True,
            failures("new", 1, 0, WORDS),
            id="a failure takes the rollout back",
        ),
        pytest.param(
            judged(
                a_status(failures("new", 1, -9999), rollout=FELL_BACK),
                pod("old", ready=NOW),
                engines=(OLD_SET,),
                spec=ROLLBACK,
            ),
            True,
            failures("new", 1, -9999),
            id="for good",
        ),
        pytest.param(
            judged(a_status(failures("new", 1, -9999), rollout=FELL_BACK), engines=(OLD_SET,)),
            False,
            failures("new", 1, -9999),
            id="unless the user chooses to wait instead",
        ),
        pytest.param(
            judged(a_status(failures("new", 1, -9999), rollout=FELL_BACK), spec=ROLLBACK),
            False,
            failures("new", 1, -9999),
            id="or the former revision is gone",
        ),
        pytest.param(
            judged(
                a_status(failures("older", 1, -9), rollout=("older", "old")),
                engines=(OLD_SET,),
                spec=ROLLBACK,
            ),
            False,
            None,
            id="a third spec is tried",
        ),
        pytest.param(
            judged(
                a_status(failures("old", 1, -9), rollout=("older", "old")),
                engines=(OLD_SET,),
                spec=ROLLBACK,
            ),
            False,
            None,
            id="also when the former revision had failed too",
        ),
        pytest.param(
            judged(
                a_status(failures("new", 1, -90), rollout=FELL_BACK),
                pod("old", failure=BROKEN),
                engines=(OLD_SET,),
                spec=ROLLBACK,
            ),
            True,
            failures("old", 2, 0, WORDS),
            id="a failure of the former revision rests it too",
        ),
        pytest.param(
            judged(
                a_status(failures("old", 2, -200), rollout=FELL_BACK),
                pod("old", ready=NOW),
                engines=(OLD_SET,),
                spec=ROLLBACK,
            ),
            True,
            failures("new", 1, -200, RETURNED),
            id="once it answers only the new one has failed",
        ),
    ],
)
def test_a_rollback(starts: Starts, rolled_back: bool, expected: StartFailures | None) -> None:
    assert (starts.rolled_back, starts.failures) == (rolled_back, expected)


@pytest.mark.parametrize(
    ("last", "left"),
    [
        pytest.param(None, 0.0, id="nothing failed"),
        pytest.param(failures("new", 1, -20), 40.0, id="a minute after the first failure"),
        pytest.param(failures("new", 2, -20), 100.0, id="two after the second"),
        pytest.param(failures("new", 9, -20), 1780.0, id="half an hour at most"),
        pytest.param(failures("new", 1, -61), 0.0, id="over"),
        pytest.param(failures("old", 1, -20), 0.0, id="another revision's"),
    ],
)
def test_the_rest(last: StartFailures | None, left: float) -> None:
    assert Starts(failures=last, anchor=None).rest_left("new", NOW) == left

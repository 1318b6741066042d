"""The status as one object: what is dated, counted, carried over and forgotten."""

from __future__ import annotations

from typing import Any

from tertium.api.conditions import ConditionType, Reason
from tertium.api.v1alpha1 import (
    CountedGateway,
    LLMDeploymentStatus,
    OpenReplica,
    Placement,
    RolloutStatus,
    StartFailures,
    Usage,
)
from tertium.core.conditions import Said
from tertium.core.inspection import Step
from tertium.core.lifecycle import EnginePod
from tertium.core.plan import NoSizing, Plan, Scale
from tertium.core.status import project_refusal, project_status
from tertium.core.tokens import WRITE_SECONDS, Tally
from tests.factories import NOW, POLICY, a_pod, an_owner, at, observed, seconds

READY = a_pod(ready=NOW - seconds(5))
LOOKING = NoSizing(status="Unknown", reason=Reason.INSPECTING, message="Reading the model's config")
FAILURES = StartFailures(revision="r2", count=3, last_at=at(-9), message="out of memory")
ROLLOUT = RolloutStatus(revision="r2", serving_revision="r1")
PLACEMENT = Placement(accelerator="GPU-80GB", gave_up_at=at(-60))
NOT_OWNED = Said.of("False", Reason.NOT_OWNED, "Service a/b is somebody else's")


def a_plan(replicas: int = 0, **fields: Any) -> Plan:
    scale = Scale(replicas=replicas, why="a test", idle_after_seconds=90)
    return Plan(**{"sizing": LOOKING, "scale": scale, "inspect": Step.NONE, "requeue_after": None, **fields})


def status_of(
    *pods: EnginePod,
    before: LLMDeploymentStatus | None = None,
    now: float = 0,
    plan: Plan | None = None,
    ended: tuple[EnginePod, ...] = (),
    answered: int = 0,
) -> LLMDeploymentStatus:
    entry = CountedGateway(epoch="a", pod="gateway-1", requests=answered, prompt_tokens=10 * answered)
    tally = Tally(counted=(entry,) if answered else (), epochs={"gateway-1": "a"})
    owner = an_owner(status=before, generation=7)
    seen = observed(pods=pods, ended_pods=ended, tally=tally)
    return project_status(owner, seen, plan or a_plan(), POLICY, NOW + seconds(now))


def refusal_of(before: LLMDeploymentStatus, *pods: EnginePod) -> LLMDeploymentStatus:
    identity = an_owner(status=before, generation=8).identity
    return project_refusal(identity, observed(pods=pods), NOT_OWNED, POLICY, NOW)


def test_every_condition_is_always_there_and_about_the_generation_seen() -> None:
    status = status_of()
    assert [condition.type for condition in status.conditions] == list(ConditionType)
    assert {condition.observed_generation for condition in status.conditions} == {7}
    assert status.observed_generation == 7


def test_a_second_look_at_an_unchanged_world_changes_nothing() -> None:
    before = status_of(READY, plan=a_plan(1))
    assert status_of(READY, before=before, now=100, plan=a_plan(1)) == before


def test_a_condition_keeps_its_time_while_its_status_stays() -> None:
    before = status_of()
    after = status_of(before=before, now=100, plan=a_plan(1))
    times = {condition.type: condition.last_transition_time for condition in after.conditions}
    assert (times["Progressing"], times["Accepted"]) == (at(100), at(0))


def test_an_endless_message_is_cut() -> None:
    endless = NoSizing(status="False", reason=Reason.INVALID, message="x" * 9000)
    (planned,) = [
        condition
        for condition in status_of(plan=a_plan(sizing=endless)).conditions
        if condition.type == "Planned"
    ]
    assert len(planned.message) == 4096


def test_replicas_are_counted_without_those_on_their_way_out() -> None:
    status = status_of(READY, a_pod("b"), a_pod("c", terminating=True), plan=a_plan(2))
    assert (status.replicas, status.ready_replicas) == (2, 1)
    assert status.selector == "app.kubernetes.io/component=engine,tertium.dev/deployment=qwen"


def test_what_was_decided_is_written_down() -> None:
    plan = a_plan(2, rollout=ROLLOUT, placements=(PLACEMENT,), start_failures=FAILURES)
    status = status_of(plan=plan)
    assert status.scaling is not None
    assert (status.scaling.desired, status.scaling.idle_after_seconds) == (2, 90)
    assert (status.rollout, status.placements, status.start_failures) == (ROLLOUT, (PLACEMENT,), FAILURES)


def test_what_is_decided_no_more_is_forgotten() -> None:
    before = status_of(plan=a_plan(rollout=ROLLOUT, placements=(PLACEMENT,), start_failures=FAILURES))
    after = status_of(before=before)
    assert (after.rollout, after.placements, after.start_failures) == (None, (), None)


def test_a_refusal_forgets_nothing_and_goes_on_counting() -> None:
    plan = a_plan(1, rollout=ROLLOUT, placements=(PLACEMENT,), start_failures=FAILURES)
    before = status_of(READY, plan=plan)
    after = refusal_of(before)
    assert (after.rollout, after.placements, after.start_failures) == (ROLLOUT, (PLACEMENT,), FAILURES)
    assert after.usage == Usage(serving_gpu_seconds=5, starting_gpu_seconds=54)
    assert (after.observed_generation, after.ready_replicas) == (8, 0)


def test_the_last_start_is_remembered_when_its_pod_is_gone() -> None:
    served = status_of(READY, plan=a_plan(1))
    assert served.cold_start.last is not None
    assert [(phase.name, phase.millis) for phase in served.cold_start.last.phases] == [
        ("scheduling", 1000),
        ("container", 1000),
        ("engine", 53_000),
    ]
    assert (served.cold_start.last.total_millis, served.cold_start.eta_seconds) == (55_000, 55)
    assert status_of(before=served).cold_start == served.cold_start


def started(name: str, took: float, ready: float) -> EnginePod:
    """A replica that took so long, and answered first at `ready`, in seconds from now."""
    begun = NOW + seconds(ready - took)
    return a_pod(name, created=begun, scheduled=begun, started=begun, ready=NOW + seconds(ready))


def test_a_start_is_expected_to_take_what_three_of_four_did_not_exceed() -> None:
    status = status_of()
    for number, took in enumerate((40, 600, 42, 44)):
        pod = started(f"p{number}", took, 1000 * number)
        status = status_of(pod, before=status, now=1000 * number + 1, plan=a_plan(1))
        status = status_of(before=status, now=1000 * number + 2)
    assert [start.total_millis for start in status.cold_start.recent] == [40_000, 600_000, 42_000, 44_000]
    assert status.cold_start.eta_seconds == 45


def test_the_last_eight_starts_are_remembered_whoever_runs_still() -> None:
    pods = tuple(started(f"p{number}", 40 + number, number) for number in range(12))
    before = status_of(*pods, now=20, plan=a_plan(12))
    assert [start.pod for start in before.cold_start.recent] == [f"p{number}" for number in range(4, 12)]
    assert status_of(*pods, before=before, now=30, plan=a_plan(12)) == before
    fewer = status_of(*pods[:2], before=before, now=40, plan=a_plan(2))
    assert fewer.cold_start.recent == before.cold_start.recent


def test_a_start_is_expected_to_take_whole_steps_of_five_seconds() -> None:
    quick = a_pod(
        created=NOW - seconds(2), scheduled=NOW - seconds(2), started=NOW - seconds(1), ready=NOW - seconds(1)
    )
    slow = a_pod(ready=NOW - seconds(4))
    etas = [status_of(pod, plan=a_plan(1)).cold_start.eta_seconds for pod in (quick, slow)]
    assert etas == [5, 60]


def test_a_replica_that_answers_again_has_not_started_again() -> None:
    first = status_of(READY, plan=a_plan(1))
    again = status_of(a_pod(ready=NOW + seconds(500)), before=first, now=600, plan=a_plan(1))
    assert again.cold_start == first.cold_start


def test_gpu_time_of_an_evicted_replica_ends_with_it() -> None:
    serving = OpenReplica(pod="qwen-engine-1", gpus=1, started_at=at(-59), serving_since=at(-5))
    before = status_of(READY, plan=a_plan(1))
    assert before.usage.open == (serving,)
    after = status_of(before=before, now=60, ended=(a_pod(ended=NOW + seconds(10)),))
    assert after.usage == Usage(serving_gpu_seconds=15, starting_gpu_seconds=54)


def test_tokens_are_written_every_few_minutes_and_with_whatever_else_is() -> None:
    before = status_of(READY, plan=a_plan(1), answered=1)
    assert (before.usage.requests, before.usage.prompt_tokens, before.usage.counted_at) == (1, 10, at(0))
    assert status_of(READY, before=before, now=60, plan=a_plan(1), answered=9) == before
    late = status_of(READY, before=before, now=WRITE_SECONDS, plan=a_plan(1), answered=9)
    assert (late.usage.requests, late.usage.prompt_tokens) == (9, 90)
    stopped = status_of(READY, before=before, now=60, plan=a_plan(0), answered=9)
    assert (stopped.usage.requests, stopped.usage.counted_at) == (9, at(60))

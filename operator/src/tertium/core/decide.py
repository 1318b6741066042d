"""What one deployment needs, from what was observed: placement, starts, count, rollout in this order.

Pure; `now` is an argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final

from tertium.core import admission, inspection
from tertium.core.drain import deletion_costs
from tertium.core.expiry import expiry_of
from tertium.core.inspection import Step
from tertium.core.learning import drift_of, learn
from tertium.core.lifecycle import start_seconds_left
from tertium.core.observed import Observed, Owner
from tertium.core.placement import Placed, place
from tertium.core.plan import Plan, Scale, Sized
from tertium.core.policy import Policy
from tertium.core.preparation import seconds_to_look
from tertium.core.rollout import Course, engine_goals, rollout_status, wanted_revision
from tertium.core.scaling import Case, decide_scale
from tertium.core.starts import judge_starts
from tertium.core.tokens import seconds_until_written

START_FAILED: Final = "the last start failed; its GPUs are free until the next try"


def decide(owner: Owner, observed: Observed, policy: Policy, now: datetime) -> Plan:
    """Return what is wanted. Raises `Terminal` when the spec cannot work whatever the world is like."""
    observed = replace(observed, learned=learn(owner, observed, now))
    placed = place(owner, observed, policy, now)
    if isinstance(placed.sizing, Sized):
        admission.check_plan(owner.spec, placed.sizing.plan.flags)
    starts = judge_starts(owner, observed, wanted_revision(owner, observed, placed), now)
    course = Course(owner=owner, observed=observed, placed=placed, starts=starts, now=now)
    case = Case(
        owner=owner,
        observed=observed,
        now=now,
        planned=isinstance(placed.sizing, Sized),
        replicas=course.asked,
        moving=course.moving,
    )
    scale = rest_after_failed_start(course, decide_scale(case))
    rollout = rollout_status(course, scale.replicas)
    engines = engine_goals(course, scale.replicas, rollout)
    step = inspection.next_step(
        observed.inspection,
        stored=observed.facts_stored,
        now=now,
        retry_seconds=policy.inspection_retry_seconds,
    )
    expiry = expiry_of(owner, observed, wanted=scale.replicas, now=now)
    asks = (scale.requeue_after, placed.requeue_after, expiry.requeue_after, course.rest_left or None)
    more = (
        _inspection_retry(observed, step, policy, now),
        _start_timeout(owner, observed, now),
        _look_at_events(observed, now),
        seconds_until_written(owner.identity.status.usage, observed.tally, now) or None,
    )
    return Plan(
        sizing=placed.sizing,
        scale=scale,
        inspect=step,
        requeue_after=min((ask for ask in (*asks, *more) if ask is not None), default=None),
        engines=engines,
        costs=deletion_costs(observed, engines),
        rollout=rollout,
        rolled_back=starts.rolled_back,
        placements=placed.placements,
        start_failures=starts.failures,
        delete_owner=expiry.why,
        learned=observed.learned,
        drift=_drift(observed, placed),
    )


def _drift(observed: Observed, placed: Placed) -> Mapping[str, int]:
    sizing = placed.sizing
    return drift_of(observed, placed.revision, sizing.plan) if isinstance(sizing, Sized) else {}


def rest_after_failed_start(course: Course, scale: Scale) -> Scale:
    """Free the GPUs of starts that failed, at once, and rest before the next try.

    | the aimed-at revision | ready | another revision | result                                          |
    | does not rest         | any   | any              | as wanted                                       |
    | rests                 | any   | answers          | as wanted: it fills in                          |
    | rests                 | r > 0 | answers not      | at most r                                       |
    | rests                 | 0     | answers not      | 0, and the failure's words for those who wait   |
    """
    failures = course.starts.failures
    forbidden = course.owner.spec.suspend or course.owner.spec.replicas == 0
    if failures is None or not course.rest_left or course.others_answer or forbidden:
        return scale
    ready = course.ready(course.aim)
    if ready and scale.replicas <= ready:
        return scale
    return replace(
        scale,
        replicas=min(scale.replicas, ready),
        why=START_FAILED,
        rule=rest_after_failed_start.__name__,
        start_failed="" if ready else failures.message,
    )


def _inspection_retry(observed: Observed, step: Step, policy: Policy, now: datetime) -> float | None:
    if step is not Step.WAIT or observed.inspection.state != "failed":
        return None
    return inspection.retry_wait(observed.inspection, now=now, retry_seconds=policy.inspection_retry_seconds)


def _look_at_events(observed: Observed, now: datetime) -> float | None:
    """Return the seconds until the Events of a pod that is being prepared may say what holds it up."""
    waiting = [pod.preparing for pod in observed.pods if pod.failure is None]
    looks = (seconds_to_look(since, now) for since in (*waiting, observed.inspection.preparing))
    return min((seconds for seconds in looks if seconds), default=None)


def _start_timeout(owner: Owner, observed: Observed, now: datetime) -> float | None:
    """Return the seconds until a start has taken too long."""
    left = (start_seconds_left(pod, now, owner.spec.engine.start_seconds) for pod in observed.pods)
    return min((seconds for seconds in left if seconds), default=None)

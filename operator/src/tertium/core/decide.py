"""How many replicas: the first rule that has an answer gives it. Pure; `now` is part of the case."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from tertium.api.conditions import ConditionType, Reason
from tertium.api.meta import parse_time
from tertium.core import inspection
from tertium.core.observed import Observed, Owner
from tertium.core.plan import NoSizing, Plan, Scale, plan_model
from tertium.core.planner import Sizing
from tertium.core.policy import Policy

PINNED: Final = "spec.replicas pins the count"
NO_PLAN: Final = "without a plan nothing is started or stopped"
START_FAILED: Final = "the last start failed; its GPUs are free until the next try"
DEMAND: Final = "a request waits for an answer"
MINIMUM: Final = "spec.scaling.minReplicas"
MAXIMUM: Final = "spec.scaling.maxReplicas"
CONCURRENCY: Final = "the requests in flight need this many replicas"
IDLE: Final = "no request for spec.scaling.idleSeconds"
ASLEEP: Final = "no request waits"
UNKNOWN_LOAD: Final = "the load is not known, so nothing is stopped"
BUSY: Final = "requests are running"
STARTING: Final = "no replica is ready yet"
RECENT: Final = "the last request is less than spec.scaling.idleSeconds ago"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One question: this deployment, this world, this moment."""

    owner: Owner
    observed: Observed
    policy: Policy
    now: datetime
    sizing: Sizing | NoSizing


Rule: TypeAlias = Callable[[Case], Scale | None]


def decide(owner: Owner, observed: Observed, policy: Policy, now: datetime) -> Plan:
    """Return what is wanted. Raises `Terminal` when the spec cannot work whatever the world is like."""
    sizing = plan_model(owner, observed)
    case = Case(owner=owner, observed=observed, policy=policy, now=now, sizing=sizing)
    scale = next(scale for rule in RULES if (scale := rule(case)) is not None)
    retry_seconds = policy.inspection_retry_seconds
    step = inspection.next_step(
        observed.inspection, stored=observed.facts_stored, now=now, retry_seconds=retry_seconds
    )
    asks = [scale.requeue_after]
    if step is inspection.Step.WAIT and observed.inspection.state == "failed":
        asks.append(inspection.retry_wait(observed.inspection, now=now, retry_seconds=retry_seconds))
    return Plan(
        sizing=sizing,
        scale=scale,
        inspect=step,
        requeue_after=min((ask for ask in asks if ask is not None), default=None),
    )


def pinned(case: Case) -> Scale | None:
    """Obey `spec.replicas`.

    | spec.replicas | plan | replicas now | result       |
    | absent        | any  | any          | -            |
    | n             | yes  | any          | n            |
    | n             | no   | more than n  | n            |
    | n             | no   | n or fewer   | as they are  |
    """
    wanted = case.owner.spec.replicas
    if wanted is None:
        return None
    if isinstance(case.sizing, NoSizing) and wanted > case.observed.replicas:
        return Scale(replicas=case.observed.replicas, why=NO_PLAN)
    return Scale(replicas=wanted, why=PINNED, start_failed=_failure(case))


def keep_without_plan(case: Case) -> Scale | None:
    """Start and stop nothing while there is no valid plan.

    | plan | replicas now | result |
    | yes  | any          | -      |
    | no   | n            | n      |
    """
    if isinstance(case.sizing, Sizing):
        return None
    return Scale(replicas=case.observed.replicas, why=NO_PLAN)


def rest_after_failed_start(case: Case) -> Scale | None:
    """Free the GPUs of a start that failed, at once, and rest before the next try.

    The Active condition is the memory: it survives a restart of the operator, and a new generation ends it.

    | a replica serves | failing now | remembered for this generation | result                     |
    | yes              | any         | any                            | -                          |
    | no               | yes         | any                            | 0, ask again after the rest |
    | no               | no          | less than the rest ago         | 0, ask again at its end    |
    | no               | no          | longer ago, or another's       | -                          |
    """
    observed, rest = case.observed, timedelta(seconds=case.policy.start_retry_seconds)
    if observed.ready_pods:
        return None
    active = case.owner.identity.said(ConditionType.ACTIVE)
    generation = case.owner.identity.generation
    if (
        active is not None
        and active.reason == Reason.START_FAILED
        and active.observed_generation == generation
    ):
        left = parse_time(active.last_transition_time) + rest - case.now
        if left > timedelta(0):
            return Scale(
                replicas=0,
                why=START_FAILED,
                start_failed=active.message,
                requeue_after=left.total_seconds(),
            )
    failure = _failure(case)
    if not failure:
        return None
    return Scale(replicas=0, why=START_FAILED, start_failed=failure, requeue_after=rest.total_seconds())


def stay_in_bounds(case: Case) -> Scale | None:
    """Keep between `minReplicas` and `maxReplicas`.

    | replicas now | result                          |
    | below min    | min, or what the requests need  |
    | above max    | max                             |
    | between      | -                               |
    """
    scaling, now = case.owner.spec.scaling, case.observed.replicas
    if now > scaling.max_replicas:
        return Scale(replicas=scaling.max_replicas, why=MAXIMUM)
    if now < scaling.min_replicas:
        return Scale(replicas=max(scaling.min_replicas, _needed(case)), why=MINIMUM)
    return None


def wake_on_demand(case: Case) -> Scale | None:
    """Start from zero because somebody waits.

    | demand Lease | replicas now | result                        |
    | not live     | any          | -                             |
    | live         | more than 0  | -                             |
    | live         | 0            | 1, or what the requests need  |
    """
    if case.observed.replicas > 0 or not case.observed.wanted(case.now):
        return None
    return Scale(replicas=max(1, _needed(case)), why=DEMAND)


def scale_up(case: Case) -> Scale | None:
    """Have as many replicas as the requests in flight fill, never fewer than now.

    | load    | needed         | result           |
    | unknown | -              | -                |
    | known   | up to now      | -                |
    | known   | more than now  | needed, up to max |
    """
    needed = _needed(case)
    if case.observed.replicas == 0 or needed <= case.observed.replicas:
        return None
    return Scale(replicas=needed, why=CONCURRENCY)


def stay_awake(case: Case) -> Scale | None:
    """Keep what runs where stopping it would be wrong, or where too little is known to say.

    | replicas  | demand   | a replica is ready | load    | result                         |
    | at min    | any      | any                | any     | keep                           |
    | above min | live     | any                | any     | keep, ask when it may end      |
    | above min | not live | no                 | any     | keep                           |
    | above min | not live | yes                | unknown | keep (a restart is no silence) |
    | above min | not live | yes                | > 0     | keep                           |
    | above min | not live | yes                | 0       | -                              |
    """
    observed, scaling = case.observed, case.owner.spec.scaling
    if observed.replicas <= scaling.min_replicas:
        return _keep(case, MINIMUM if observed.replicas else ASLEEP)
    until = observed.demand_until
    if until is not None and case.now < until:
        return _keep(case, DEMAND, until - case.now)
    if not observed.ready_pods:
        return _keep(case, STARTING)
    if observed.load is None:
        return _keep(case, UNKNOWN_LOAD)
    return _keep(case, BUSY) if observed.load.in_flight > 0 else None


def sleep_when_idle(case: Case) -> Scale | None:
    """Go down to `minReplicas` after `idleSeconds` without a running or held request.

    The clock starts at the last finished answer, and never before a replica was ready.

    | quiet for          | result                       |
    | less than idleSeconds | keep, ask again at the limit |
    | idleSeconds or more   | minReplicas                  |
    """
    observed, scaling = case.observed, case.owner.spec.scaling
    quiet = [pod.ready for pod in observed.ready_pods if pod.ready is not None]
    if observed.load is not None:
        quiet.append(observed.load.quiet_since)
    limit = max(quiet, default=case.now) + timedelta(seconds=scaling.idle_seconds)
    if case.now < limit:
        return _keep(case, RECENT, limit - case.now)
    return Scale(replicas=scaling.min_replicas, why=IDLE)


RULES: Final[tuple[Rule, ...]] = (
    pinned,
    keep_without_plan,
    rest_after_failed_start,
    stay_in_bounds,
    wake_on_demand,
    scale_up,
    stay_awake,
    sleep_when_idle,
)
"""Order is meaning: what the user fixed, then safety, then demand, then economy. The last always answers."""


def _failure(case: Case) -> str:
    """Return what a start says that fails now while nothing serves, else the empty text."""
    if case.observed.ready_pods:
        return ""
    return next((pod.failure.message for pod in case.observed.pods if pod.failure is not None), "")


def _needed(case: Case) -> int:
    """Replicas that the requests in flight fill, at most `maxReplicas`; 0 when nothing is known."""
    load = case.observed.load
    if load is None:
        return 0
    filled = -(-load.in_flight // case.owner.spec.capacity.concurrent_sequences)
    return min(filled, case.owner.spec.scaling.max_replicas)


def _keep(case: Case, why: str, ask_again: timedelta | None = None) -> Scale:
    return Scale(
        replicas=case.observed.replicas,
        why=why,
        requeue_after=ask_again.total_seconds() if ask_again is not None else None,
    )

"""How many replicas the whole deployment needs: the first rule that has an answer gives it.

Pure; `now` is part of the case. It knows nothing of revisions, accelerators or failed starts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from tertium.core.observed import Observed, Owner
from tertium.core.plan import Scale

SUSPENDED: Final = "spec.suspend"
PINNED: Final = "spec.replicas pins the count"
NO_PLAN: Final = "without a plan nothing is started or stopped"
DEMAND: Final = "a request waits for an answer"
MINIMUM: Final = "spec.scaling.minReplicas"
MAXIMUM: Final = "spec.scaling.maxReplicas"
CONCURRENCY: Final = "the requests in flight need this many replicas"
IDLE: Final = "no request for as long as an idle replica is kept"
ASLEEP: Final = "no request waits"
AWAKE: Final = "requests run, or ran too short a while ago for a replica to stop"
"""One sentence for all of that: the status must not change with every request that comes or goes."""
STARTING: Final = "no replica is ready yet"
NOBODY_WAITS: Final = "nobody waits any more for a start that has no GPU yet"

LOOK_AGAIN: Final = timedelta(seconds=10)
"""When load that is not known is asked for again."""
UNKNOWN_START_SECONDS: Final = 60
"""How long a start is taken to last before one was seen."""
WORTH_SECONDS: Final = {"Economy": 30, "Balanced": 120, "Interactive": 240}
"""How much longer than its start took an idle replica is kept, by `scaling.preference`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One question: this deployment, this world, this moment."""

    owner: Owner
    observed: Observed
    now: datetime
    planned: bool
    """There is a world size."""
    replicas: int
    """What the whole deployment was last meant to have."""
    moving: bool
    """A rollout is under way: it may just have stopped what answered."""


Rule: TypeAlias = Callable[[Case], Scale | None]


def decide_scale(case: Case) -> Scale:
    """Return the first rule's answer."""
    for rule in RULES:
        scale = rule(case)
        if scale is not None:
            return Scale(
                replicas=scale.replicas,
                why=scale.why,
                rule=rule.__name__,
                requeue_after=scale.requeue_after,
                idle_after_seconds=idle_seconds(case.owner),
            )
    raise AssertionError("the last rule always answers")


def idle_seconds(owner: Owner) -> int:
    """Return how long an idle replica is kept: what the user says, else by what waking it again costs."""
    scaling, last = owner.spec.scaling, owner.identity.status.cold_start.last
    if scaling.idle_seconds is not None:
        return scaling.idle_seconds
    start = UNKNOWN_START_SECONDS if last is None else round(last.total_millis / 1000)
    return start + WORTH_SECONDS[scaling.preference]


def suspended(case: Case) -> Scale | None:
    """Obey `spec.suspend`, which wins over every count.

    | spec.suspend | result |
    | false        | -      |
    | true         | 0      |
    """
    return Scale(replicas=0, why=SUSPENDED) if case.owner.spec.suspend else None


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
    if not case.planned and wanted > case.replicas:
        return Scale(replicas=case.replicas, why=NO_PLAN)
    return Scale(replicas=wanted, why=PINNED)


def keep_without_plan(case: Case) -> Scale | None:
    """Start and stop nothing while there is no valid plan.

    | plan | replicas now | result |
    | yes  | any          | -      |
    | no   | n            | n      |
    """
    return None if case.planned else Scale(replicas=case.replicas, why=NO_PLAN)


def stay_in_bounds(case: Case) -> Scale | None:
    """Keep between `minReplicas` and `maxReplicas`.

    | replicas now | result                          |
    | below min    | min, or what the requests need  |
    | above max    | max                             |
    | between      | -                               |
    """
    scaling, now = case.owner.spec.scaling, case.replicas
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
    if case.replicas > 0 or not case.observed.wanted(case.now):
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
    if case.replicas == 0 or needed <= case.replicas:
        return None
    return Scale(replicas=needed, why=CONCURRENCY)


def stay_awake(case: Case) -> Scale | None:
    """Keep what runs where stopping it would be wrong, or where too little is known to say.

    | replicas  | demand   | a replica is | load    | result                                       |
    | at min    | any      | any          | any     | keep                                         |
    | above min | live     | any          | any     | keep, ask when it may end                    |
    | above min | not live | on a node    | any     | keep                                         |
    | above min | not live | on no node   | any     | min: nobody waits (keep, while rolling out)  |
    | above min | not live | ready        | unknown | keep (a restart is no silence), look again   |
    | above min | not live | ready        | > 0     | keep                                         |
    | above min | not live | ready        | 0       | -                                            |
    """
    observed, scaling = case.observed, case.owner.spec.scaling
    if case.replicas <= scaling.min_replicas:
        return _keep(case, MINIMUM if case.replicas else ASLEEP)
    until = observed.demand_until
    if until is not None and case.now < until:
        return _keep(case, AWAKE if observed.ready_pods else DEMAND, until - case.now)
    if not observed.ready_pods:
        if case.moving or any(pod.scheduled is not None for pod in observed.pods):
            return _keep(case, STARTING)
        return Scale(replicas=scaling.min_replicas, why=NOBODY_WAITS)
    if observed.load is None or observed.load.in_flight > 0:
        # Whoever polls the gateway tells of a change; a report that was new there may be too old here.
        return _keep(case, AWAKE, LOOK_AGAIN if observed.load is None else None)
    return None


def sleep_when_idle(case: Case) -> Scale | None:
    """Go down to `minReplicas` when no request ran or was held for as long as an idle replica is kept.

    The clock starts at the last finished answer, and never before a replica was ready.

    | quiet for      | result                       |
    | less than that | keep, ask again at the limit |
    | that or more   | minReplicas                  |
    """
    observed = case.observed
    quiet = [pod.ready for pod in observed.ready_pods if pod.ready is not None]
    if observed.load is not None:
        quiet.append(observed.load.quiet_since)
    limit = max(quiet, default=case.now) + timedelta(seconds=idle_seconds(case.owner))
    if case.now < limit:
        return _keep(case, AWAKE, limit - case.now)
    return Scale(replicas=case.owner.spec.scaling.min_replicas, why=IDLE)


RULES: Final[tuple[Rule, ...]] = (
    suspended,
    pinned,
    keep_without_plan,
    stay_in_bounds,
    wake_on_demand,
    scale_up,
    stay_awake,
    sleep_when_idle,
)
"""Order is meaning: what the user fixed, then safety, then demand, then economy. The last always answers."""


def _needed(case: Case) -> int:
    """Replicas that the requests in flight fill, at most `maxReplicas`; 0 when nothing is known."""
    load = case.observed.load
    if load is None:
        return 0
    filled = -(-load.in_flight // case.owner.spec.capacity.concurrent_sequences)
    return min(filled, case.owner.spec.scaling.max_replicas)


def _keep(case: Case, why: str, ask_again: timedelta | None = None) -> Scale:
    return Scale(
        replicas=case.replicas,
        why=why,
        requeue_after=ask_again.total_seconds() if ask_again is not None else None,
    )

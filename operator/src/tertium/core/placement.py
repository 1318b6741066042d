"""Which GPUs replicas ask for, and so by which plan and of which revision they are made.

Pure. What runs is never moved: not by a node that joins, a wiser plan, a newer operator or a preferred
accelerator that is free again. Such news counts when nothing holds a GPU, or when the user changes a field
that pods depend on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from tertium.api.conditions import Reason
from tertium.api.meta import format_time, parse_time
from tertium.api.v1alpha1 import Placement
from tertium.core.blueprint import Blueprint
from tertium.core.lifecycle import EnginePod
from tertium.core.observed import EngineSet, Observed, Owner
from tertium.core.options import Choice, Option, as_wished, choice_of, choose, is_allowed, option_of
from tertium.core.plan import NoSizing, Sized
from tertium.core.planner import Refused
from tertium.core.policy import Policy

REST: Final = timedelta(minutes=10)
"""How long an accelerator that could not be had is passed over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """What replicas are made from now."""

    sizing: Sized | NoSizing
    revision: str = ""
    """Empty: there is no plan."""
    blueprint: Blueprint | None = None
    """None: there is no plan, or what runs was made from another one and stays as it is."""
    placements: tuple[Placement, ...] = ()
    """Accelerators that could not be had, while each rests."""
    requeue_after: float | None = None
    """When another accelerator may be tried."""


def place(owner: Owner, observed: Observed, policy: Policy, now: datetime) -> Placed:
    """Choose what the next replica is made from.

    | a replica as wished | one waits for the chosen GPUs         | result                         |
    | holds GPUs          | -                                     | what that one was made by      |
    | none holds any      | `placementSeconds`, others may be had | that choice rests; the next    |
    | none holds any      | shorter, or there is no other         | the first that does not rest   |
    | none holds any      | all rest                              | the one whose rest ends first  |
    """
    resting = {_choice(record): record for record in _resting(owner, now)}
    unknown = _unknown(observed)
    if unknown is not None:
        return Placed(sizing=unknown, placements=tuple(resting.values()))
    kept = _kept(owner, observed)
    waiting = None if kept else _waiting(owner, observed, now)
    if waiting is not None:
        engine, pod = waiting
        choice = choice_of(engine)
        late = pod.created + timedelta(seconds=owner.spec.placement_seconds) <= now
        if late and isinstance(choose(owner, observed, {*resting, choice}), Option):
            resting[choice] = Placement(
                accelerator=choice[0], spot=choice[1], gave_up_at=format_time(now), message=pod.waits_for
            )
    found = option_of(kept, owner, observed) if kept else _first(owner, observed, resting)
    if isinstance(found, Refused):
        refused = NoSizing(status="False", reason=found.reason, message=found.message)
        return Placed(sizing=refused, placements=tuple(resting.values()))
    commit = observed.facts.revision if observed.facts else ""
    blueprint = Blueprint.of(
        owner,
        found.sizing.plan,
        resource=found.sizing.resource,
        spot=found.choice[1],
        model_revision=commit,
        policy=policy,
    )
    revision = kept.revision if kept else blueprint.revision
    return Placed(
        sizing=found.sizing,
        revision=revision,
        blueprint=blueprint if blueprint.revision == revision else None,
        placements=tuple(resting.values()),
        requeue_after=_ask_again(owner, waiting[1], resting, now) if waiting else None,
    )


def _unknown(observed: Observed) -> NoSizing | None:
    """Say why nothing can be planned yet: the model is not known."""
    facts, seen = observed.facts, observed.inspection
    if facts is not None and facts.refusal is not None:
        return NoSizing(status="False", reason=facts.refusal.reason, message=str(facts.refusal))
    if facts is not None and facts.model is not None:
        return None
    failed = seen.state == "failed"
    return NoSizing(
        status="False" if failed else "Unknown",
        reason=seen.reason if failed else Reason.INSPECTING,
        message=seen.message,
    )


def _kept(owner: Owner, observed: Observed) -> EngineSet | None:
    """Return the newest revision that is as the user wishes and has a replica with a node."""
    holding = {pod.revision for pod in observed.pods if pod.scheduled is not None and not pod.terminating}
    return next((engine for engine in as_wished(owner, observed) if engine.revision in holding), None)


def _waiting(owner: Owner, observed: Observed, now: datetime) -> tuple[EngineSet, EnginePod] | None:
    """Return the replica that waits longest for GPUs, unless former ones are about to free theirs."""
    if any(pod.terminating and pod.holds_gpus(now) for pod in observed.pods):
        return None
    wished = {engine.revision: engine for engine in as_wished(owner, observed) if engine.replicas}
    pods = [
        pod for pod in observed.pods if pod.unschedulable and not pod.terminating and pod.revision in wished
    ]
    oldest = min(pods, key=lambda pod: pod.created, default=None)
    return (wished[oldest.revision], oldest) if oldest else None


def _first(owner: Owner, observed: Observed, resting: Mapping[Choice, Placement]) -> Option | Refused:
    """Return the best choice that does not rest, else the one whose rest ends first."""
    found = choose(owner, observed, resting.keys())
    for record in sorted(resting.values(), key=lambda record: parse_time(record.gave_up_at)):
        if isinstance(found, Option):
            return found
        found = choose(owner, observed, resting.keys() - {_choice(record)})
    return found if isinstance(found, Option) else choose(owner, observed, frozenset())


def _resting(owner: Owner, now: datetime) -> Sequence[Placement]:
    return [
        record
        for record in owner.identity.status.placements
        if parse_time(record.gave_up_at) + REST > now and is_allowed(owner, _choice(record))
    ]


def _choice(record: Placement) -> Choice:
    return (record.accelerator, record.spot)


def _ask_again(
    owner: Owner, pod: EnginePod, resting: Mapping[Choice, Placement], now: datetime
) -> float | None:
    """Return the seconds until the pod has waited too long or a choice has rested."""
    ends = [pod.created + timedelta(seconds=owner.spec.placement_seconds)]
    ends += [parse_time(record.gave_up_at) + REST for record in resting.values()]
    return min(((end - now).total_seconds() for end in ends if end > now), default=None)

"""The status: what was observed and decided, in the API's words. Never what was merely asked for.

It is also Tertium's memory between two passes: what is neither seen nor decided anew is carried over. Nothing
in it changes while the world does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from tertium.api.conditions import ConditionType
from tertium.api.meta import Condition, format_time, parse_time
from tertium.api.v1alpha1 import ColdStartStatus, LLMDeploymentStatus, RecentStart, ScalingStatus, Usage
from tertium.core import names
from tertium.core.conditions import Said, conditions_of, refused
from tertium.core.eta import MOST_STARTS, expected_millis
from tertium.core.ledger import account
from tertium.core.observed import Identity, Observed, Owner
from tertium.core.plan import Plan, Sized
from tertium.core.policy import Policy
from tertium.core.tokens import add_tokens, seconds_until_written

_MESSAGE_LIMIT: Final = 4096
"""Long enough for any reason, short enough to read; the API allows eight times as much."""
_ETA_STEP_SECONDS: Final = 5


def project_status(
    owner: Owner, observed: Observed, plan: Plan, policy: Policy, now: datetime
) -> LLMDeploymentStatus:
    """Return the status of a deployment whose spec is understood."""
    said = conditions_of(owner, observed, plan)
    status = _status(owner.identity, observed, said, policy, now).model_copy(
        update={
            "plan": plan.sizing.plan if isinstance(plan.sizing, Sized) else None,
            "scaling": ScalingStatus(
                desired=plan.scale.replicas,
                why=plan.scale.why,
                idle_after_seconds=plan.scale.idle_after_seconds,
            ),
            "model_digest": observed.digest,
            "rollout": plan.rollout,
            "placements": plan.placements,
            "start_failures": plan.start_failures,
        }
    )
    return _with_tokens(owner.identity, observed, status, now)


def project_refusal(
    identity: Identity, observed: Observed, refusal: Said, policy: Policy, now: datetime
) -> LLMDeploymentStatus:
    """Return the status of a deployment that cannot be accepted; what was decided before stays as it was."""
    status = _status(identity, observed, refused(refusal, observed), policy, now)
    return _with_tokens(identity, observed, status, now)


def _status(
    identity: Identity,
    observed: Observed,
    said: Mapping[ConditionType, Said],
    policy: Policy,
    now: datetime,
) -> LLMDeploymentStatus:
    usage = account(identity.status.usage, (*observed.pods, *observed.ended_pods), now)
    seen: dict[str, Any] = {
        "conditions": tuple(_condition(identity, kind, words, now) for kind, words in said.items()),
        "observed_generation": identity.generation,
        "replicas": sum(not pod.terminating for pod in observed.pods),
        "ready_replicas": len(observed.ready_pods),
        "selector": names.selector_text(identity.key, "engine"),
        "url": policy.gateway_url,
        "cold_start": _cold_start(identity, observed, usage),
        "usage": usage,
    }
    return identity.status.model_copy(update=seen)


def _with_tokens(
    identity: Identity, observed: Observed, status: LLMDeploymentStatus, now: datetime
) -> LLMDeploymentStatus:
    """Add what the gateways have counted to a status that is written anyway, or when it has waited long.

    Not at each look: they count with every request.
    """
    if status == identity.status and seconds_until_written(status.usage, observed.tally, now) != 0:
        return status
    return status.model_copy(update={"usage": add_tokens(status.usage, observed.tally, now)})


def _condition(identity: Identity, kind: ConditionType, said: Said, now: datetime) -> Condition:
    """Date a condition: its time moves when its status does."""
    before = identity.said(kind)
    unmoved = before is not None and before.status == said.status
    return Condition(
        type=kind,
        status=said.status,
        reason=said.reason,
        message=said.message[:_MESSAGE_LIMIT],
        observed_generation=identity.generation,
        last_transition_time=before.last_transition_time if before and unmoved else format_time(now),
    )


def _cold_start(identity: Identity, observed: Observed, usage: Usage) -> ColdStartStatus:
    """Return how the last replicas started, and how long the next one is expected to take.

    The account remembers when a replica answered first: the pod knows only since when it does so now.
    """
    before = identity.status.cold_start
    first = {entry.pod: entry.serving_since for entry in usage.open if entry.serving_since is not None}
    known, last = {start.pod: start for start in before.recent}, before.last
    for pod in sorted(observed.ready_pods, key=lambda pod: pod.created):
        record = pod.start_record(parse_time(first[pod.name])) if pod.name in first else None
        if record is not None:
            last = record
            known[pod.name] = RecentStart(
                pod=pod.name, ready_at=first[pod.name], total_millis=record.total_millis
            )
    recent = sorted(known.values(), key=lambda start: (start.ready_at, start.pod))[-MOST_STARTS:]
    expected = expected_millis([start.total_millis for start in recent])
    if expected is None:
        return before
    steps = -(-expected // (1000 * _ETA_STEP_SECONDS))
    eta = max(1, steps) * _ETA_STEP_SECONDS
    return ColdStartStatus(eta_seconds=eta, recent=tuple(recent), last=last)

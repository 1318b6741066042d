"""The status: what was observed and decided, in the API's words. Never what was merely asked for.

Messages hold no counters and no times, so that an unchanged world gives an equal status.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from tertium.api.conditions import ConditionType, Reason
from tertium.api.meta import Condition, format_time
from tertium.api.v1alpha1 import ColdStartStatus, LLMDeploymentStatus, ScalingStatus
from tertium.core import names
from tertium.core.observed import Identity, Observed
from tertium.core.plan import NoSizing, Plan
from tertium.core.policy import Policy

Truth = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A condition without its times."""

    status: Truth
    reason: Reason
    message: str = ""


NOT_LOOKED_AT: Final = Said(status="Unknown", reason=Reason.PENDING, message=Reason.PENDING.sentence)
VALID: Final = Said(status="True", reason=Reason.VALID, message=Reason.VALID.sentence)


def project_status(
    identity: Identity, observed: Observed, plan: Plan, policy: Policy, now: datetime
) -> LLMDeploymentStatus:
    """Return the status of a deployment whose spec is understood."""
    sizing = plan.sizing
    sized = None if isinstance(sizing, NoSizing) else sizing.status()
    if isinstance(sizing, NoSizing):
        planned = Said(status=sizing.status, reason=sizing.reason, message=sizing.message)
    else:
        planned = Said(status="True", reason=Reason.FITS, message=sizing.why)
    said = {
        ConditionType.ACCEPTED: VALID,
        ConditionType.PLANNED: planned,
        ConditionType.PROGRESSING: _progressing(observed, plan),
        ConditionType.ACTIVE: _active(observed, plan),
    }
    return _status(identity, observed, said, policy, now).model_copy(
        update={
            "plan": sized,
            "scaling": ScalingStatus(desired=plan.scale.replicas, why=plan.scale.why),
            "model_digest": observed.facts.digest if observed.facts else "",
        }
    )


def project_refusal(
    identity: Identity, observed: Observed, refusal: Said, policy: Policy, now: datetime
) -> LLMDeploymentStatus:
    """Return the status of a deployment that cannot be accepted; what runs is still reported."""
    serving = _serving(observed)
    said = {
        ConditionType.ACCEPTED: refusal,
        ConditionType.PLANNED: NOT_LOOKED_AT,
        ConditionType.PROGRESSING: NOT_LOOKED_AT,
        ConditionType.ACTIVE: serving or NOT_LOOKED_AT,
    }
    return _status(identity, observed, said, policy, now)


def _progressing(observed: Observed, plan: Plan) -> Said:
    """Say what is being changed.

    | observed                                        | status, reason        |
    | a start failed, nothing serves                  | False, StartFailed    |
    | a replica cannot be scheduled                   | True, WaitingForGPU   |
    | fewer ready than wanted, some of an old template | True, RollingOut     |
    | fewer ready than wanted                         | True, ScalingUp       |
    | more there than wanted, or some are ending      | True, ScalingDown     |
    | otherwise                                       | False, Stable         |
    """
    if plan.scale.start_failed:
        return Said(status="False", reason=Reason.START_FAILED, message=plan.scale.start_failed)
    wanted = plan.scale.replicas
    present = [pod for pod in observed.pods if not pod.terminating]
    waiting = next((pod for pod in present if pod.unschedulable), None)
    if waiting is not None and len(observed.ready_pods) < wanted:
        return Said(status="True", reason=Reason.WAITING_FOR_GPU, message=waiting.waits_for)
    if len(observed.ready_pods) < wanted:
        rolling = observed.engine is not None and observed.engine.rolling_out
        reason = Reason.ROLLING_OUT if rolling else Reason.SCALING_UP
        held_back = next((pod.waits_for for pod in present if pod.waits_for), "")
        return Said(status="True", reason=reason, message=held_back or reason.sentence)
    if len(present) > wanted or len(present) < len(observed.pods):
        return Said(status="True", reason=Reason.SCALING_DOWN, message=Reason.SCALING_DOWN.sentence)
    return Said(status="False", reason=Reason.STABLE, message=Reason.STABLE.sentence)


def _active(observed: Observed, plan: Plan) -> Said:
    """Say whether requests are answered now. Unknown while a replica starts: it will turn out either way.

    | observed                     | status, reason     |
    | a replica is ready           | True, Serving      |
    | the last start failed        | False, StartFailed |
    | replicas wanted, none ready  | Unknown, Waking    |
    | none wanted, a plan          | False, Idle        |
    | none wanted, no plan         | Unknown, Pending   |
    """
    serving = _serving(observed)
    if serving is not None:
        return serving
    if plan.scale.start_failed:
        return Said(status="False", reason=Reason.START_FAILED, message=plan.scale.start_failed)
    if plan.scale.replicas > 0:
        return Said(status="Unknown", reason=Reason.WAKING, message=Reason.WAKING.sentence)
    if isinstance(plan.sizing, NoSizing):
        return NOT_LOOKED_AT
    return Said(status="False", reason=Reason.IDLE, message=Reason.IDLE.sentence)


def _serving(observed: Observed) -> Said | None:
    if not observed.ready_pods:
        return None
    return Said(status="True", reason=Reason.SERVING, message=Reason.SERVING.sentence)


def _ready(said: dict[ConditionType, Said]) -> Said:
    """Sum up: the first of Accepted and Planned that is not True, then a failed start. Idle is healthy."""
    for kind in (ConditionType.ACCEPTED, ConditionType.PLANNED):
        if said[kind].status != "True":
            return said[kind]
    progressing = said[ConditionType.PROGRESSING]
    if progressing.reason is Reason.START_FAILED:
        return progressing
    return Said(status="True", reason=Reason.READY, message=Reason.READY.sentence)


def _status(
    identity: Identity,
    observed: Observed,
    said: dict[ConditionType, Said],
    policy: Policy,
    now: datetime,
) -> LLMDeploymentStatus:
    said = {**said, ConditionType.READY: _ready(said)}
    return LLMDeploymentStatus(
        conditions=tuple(_condition(identity, kind, words, now) for kind, words in said.items()),
        observed_generation=identity.generation,
        replicas=sum(not pod.terminating for pod in observed.pods),
        ready_replicas=len(observed.ready_pods),
        selector=names.selector_text(identity.key, "engine"),
        url=policy.gateway_url,
        cold_start=_cold_start(identity, observed),
    )


def _condition(identity: Identity, kind: ConditionType, said: Said, now: datetime) -> Condition:
    """Date a condition: its time moves when its status does, and when a start fails anew.

    The second is because the rest after a failed start is counted from that time.
    """
    before = identity.said(kind)
    since = format_time(now)
    if before is not None and before.status == said.status and not _fails_anew(identity, before, said):
        since = before.last_transition_time
    return Condition(
        type=kind,
        status=said.status,
        reason=said.reason,
        message=said.message[:32768],
        observed_generation=identity.generation,
        last_transition_time=since,
    )


def _fails_anew(identity: Identity, before: Condition, said: Said) -> bool:
    known = before.reason == said.reason and before.observed_generation == identity.generation
    return said.reason is Reason.START_FAILED and not known


def _cold_start(identity: Identity, observed: Observed) -> ColdStartStatus:
    newest = max(observed.ready_pods, key=lambda pod: pod.created, default=None)
    record = newest.start_record() if newest else None
    return ColdStartStatus(last=record) if record else identity.status.cold_start

"""What happened to a deployment, for `kubectl describe`: the difference of two statuses, as sentences.

Pure: the same two statuses always give the same events, and an unchanged status gives none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from tertium.api.conditions import ConditionType, Reason
from tertium.api.meta import Condition
from tertium.api.v1alpha1 import LLMDeploymentStatus, RolloutStatus


class EventReason(StrEnum):
    """The kinds of events Tertium writes about an LLMDeployment."""

    WOKE = "Woke"
    SLEPT = "Slept"
    SUSPENDED = "Suspended"
    START_FAILED = "StartFailed"
    WAITING_FOR_GPU = "WaitingForGPU"
    PLACED_ELSEWHERE = "PlacedElsewhere"
    ROLLOUT_STARTED = "RolloutStarted"
    ROLLOUT_DONE = "RolloutDone"
    ROLLED_BACK = "RolledBack"
    REFUSED = "Refused"
    NAME_TAKEN = "NameTaken"
    EXPIRED = "Expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event; `message` is a sentence."""

    type: Literal["Normal", "Warning"]
    reason: EventReason
    message: str


def events_of(before: LLMDeploymentStatus, after: LLMDeploymentStatus) -> tuple[Event, ...]:
    """Return what happened between the status last written and the one that is written now."""
    sources = (_accepted, _rollout, _starts, _activity)
    return tuple(event for source in sources for event in source(before, after))


def expired(why: str) -> Event:
    """Return the event about an object that is deleted because its spec asks for it."""
    return Event(type="Normal", reason=EventReason.EXPIRED, message=f"Deleted: {why}")


def _accepted(before: LLMDeploymentStatus, after: LLMDeploymentStatus) -> Iterator[Event]:
    """Say that a spec is refused, once for every way it is.

    | Accepted, Planned or WeightsReady    | result    |
    | False, was not or for another reason | Refused   |
    | True, NameTaken, was not             | NameTaken |
    """
    for kind in (ConditionType.ACCEPTED, ConditionType.PLANNED, ConditionType.WEIGHTS_READY):
        now = _turned(before, after, kind)
        if now is None:
            continue
        if now.status == "False":
            yield Event(type="Warning", reason=EventReason.REFUSED, message=f"{now.reason}: {now.message}")
            return
        if now.reason == Reason.NAME_TAKEN:
            yield Event(type="Warning", reason=EventReason.NAME_TAKEN, message=now.message)


def _rollout(before: LLMDeploymentStatus, after: LLMDeploymentStatus) -> Iterator[Event]:
    """Say that a rollout begins, ends or is taken back.

    | revisions                                                     | result         |
    | the wanted one differs from the serving one, and did not yet  | RolloutStarted |
    | the wanted one serves, and the same one did not yet           | RolloutDone    |
    | Progressing turned RolledBack                                 | RolledBack     |
    """
    then, now = before.rollout or RolloutStatus(), after.rollout or RolloutStatus()
    turned = _turned(before, after, ConditionType.PROGRESSING)
    if turned is not None and turned.reason == Reason.ROLLED_BACK:
        yield Event(type="Warning", reason=EventReason.ROLLED_BACK, message=turned.message)
    pending = then.revision if then.first_difference else ""
    if now.first_difference and now.revision != pending:
        message = f"Replacing the replicas: {now.first_difference}"
        yield Event(type="Normal", reason=EventReason.ROLLOUT_STARTED, message=message)
    if pending and now.serving_revision == now.revision == pending:
        message = "The replicas of the changed spec have replaced the old ones"
        yield Event(type="Normal", reason=EventReason.ROLLOUT_DONE, message=message)


def _starts(before: LLMDeploymentStatus, after: LLMDeploymentStatus) -> Iterator[Event]:
    """Say that a start failed, that replicas wait for GPUs, and that another accelerator is tried."""
    failures = after.start_failures
    if failures is not None and failures != before.start_failures:
        yield Event(type="Warning", reason=EventReason.START_FAILED, message=failures.message)
    turned = _turned(before, after, ConditionType.PROGRESSING)
    if turned is not None and turned.reason == Reason.WAITING_FOR_GPU:
        yield Event(type="Warning", reason=EventReason.WAITING_FOR_GPU, message=turned.message)
    for placement in after.placements:
        if placement not in before.placements:
            message = f"{placement.accelerator} could not be had in time: {placement.message}"
            yield Event(type="Warning", reason=EventReason.PLACED_ELSEWHERE, message=message)


def _activity(before: LLMDeploymentStatus, after: LLMDeploymentStatus) -> Iterator[Event]:
    """Say that the model woke or went to sleep.

    | Active                                | result          |
    | True, was not                         | Woke            |
    | False on purpose, was True or Unknown | Slept, Suspended |
    """
    now = _turned(before, after, ConditionType.ACTIVE)
    if now is None:
        return
    then = _condition(before, ConditionType.ACTIVE)
    if now.status == "True" and (then is None or then.status != "True"):
        yield Event(type="Normal", reason=EventReason.WOKE, message="A replica answers requests")
    elif now.reason == Reason.SUSPENDED:
        yield Event(type="Normal", reason=EventReason.SUSPENDED, message=now.message)
    elif now.reason == Reason.IDLE and then is not None and then.reason in (Reason.SERVING, Reason.WAKING):
        yield Event(type="Normal", reason=EventReason.SLEPT, message=now.message)


def _turned(before: LLMDeploymentStatus, after: LLMDeploymentStatus, kind: ConditionType) -> Condition | None:
    """Return the condition as it is now if its status or reason is another than before."""
    then, now = _condition(before, kind), _condition(after, kind)
    if now is None or (then is not None and (then.status, then.reason) == (now.status, now.reason)):
        return None
    return now


def _condition(status: LLMDeploymentStatus, kind: ConditionType) -> Condition | None:
    return next((condition for condition in status.conditions if condition.type == kind), None)

"""The inspection of a model: what its Job has come to, what it said, and what to do next. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from tertium.api.conditions import Reason
from tertium.api.meta import Manifest, parse_time


class Step(StrEnum):
    """What the inspection needs now."""

    NONE = "none"
    START = "start"
    WAIT = "wait"
    STORE = "store"
    RETRY = "retry"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """The inspection of the source that the spec names now."""

    state: Literal["absent", "running", "done", "failed"]
    facts: str = ""
    """JSON text of the facts; only when done."""
    reason: Reason = Reason.INSPECTING
    message: str = ""
    failed_at: datetime | None = None
    preparing: datetime | None = None
    """Since when its pod's volumes and network are being prepared; None: they are not, or are there."""


ABSENT = Inspection(state="absent", message="The model has not been looked at yet")


def next_step(inspection: Inspection, *, stored: bool, now: datetime, retry_seconds: float) -> Step:
    """Return what to do.

    | facts stored | Job     | result                                 |
    | yes          | any     | none                                   |
    | no           | absent  | start                                  |
    | no           | running | wait                                   |
    | no           | done    | store the facts                        |
    | no           | failed  | wait, retry after `retry_seconds`      |
    """
    if stored:
        return Step.NONE
    if inspection.state == "failed":
        due = retry_wait(inspection, now=now, retry_seconds=retry_seconds) <= 0
        return Step.RETRY if due else Step.WAIT
    return {"absent": Step.START, "running": Step.WAIT, "done": Step.STORE}[inspection.state]


def retry_wait(inspection: Inspection, *, now: datetime, retry_seconds: float) -> float:
    """Return the seconds until a failed inspection is tried again."""
    if inspection.failed_at is None:
        return 0.0
    return retry_seconds - (now - inspection.failed_at).total_seconds()


def ended(job: Manifest) -> tuple[Literal["done", "failed"], datetime] | None:
    """Return how and when a Job ended, or None while it runs."""
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition["status"] == "True" and condition["type"] in ("Complete", "Failed"):
            state: Literal["done", "failed"] = "done" if condition["type"] == "Complete" else "failed"
            return state, parse_time(condition["lastTransitionTime"])
    return None


def parse_output(output: str, at: datetime, *, otherwise: str) -> Inspection:
    """Read what the Job printed; `otherwise` says why there may be nothing to read."""
    document = _last_json(output)
    if "facts" in document:
        text = json.dumps(document["facts"], sort_keys=True, separators=(",", ":"))
        return Inspection(state="done", facts=text)
    error = document.get("error") or {}
    known = error.get("reason") in (Reason.MODEL_NOT_FOUND, Reason.INSPECTION_FAILED)
    last_line = output.strip().rpartition("\n")[2]
    return Inspection(
        state="failed",
        reason=Reason(error["reason"]) if known else Reason.INSPECTION_FAILED,
        message=str(error.get("message") or last_line or otherwise),
        failed_at=at,
    )


def _last_json(output: str) -> dict[str, Any]:
    """Return the last line that is a JSON object: libraries may print warnings around it."""
    for line in reversed(output.splitlines()):
        try:
            document = json.loads(line)
        except ValueError:
            continue
        if isinstance(document, dict):
            return document
    return {}

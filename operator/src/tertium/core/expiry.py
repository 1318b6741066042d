"""Whether a deployment has asked to be deleted by now, as previews do. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from tertium.api.conditions import ConditionType
from tertium.api.meta import parse_time
from tertium.core.observed import Observed, Owner


@dataclass(frozen=True, slots=True, kw_only=True)
class Expiry:
    """Why the deployment is to be deleted, or when to ask again."""

    why: str = ""
    """Empty: it stays."""
    requeue_after: float | None = None


def expiry_of(owner: Owner, observed: Observed, *, wanted: int, now: datetime) -> Expiry:
    """Return whether `expireAfterSeconds` or `deleteAfterIdleSeconds` has passed.

    | field                  | counts from                       | while                       |
    | expireAfterSeconds     | the object's creation             | always                      |
    | deleteAfterIdleSeconds | when Active turned False, Unknown | no replica, and none wanted |
    """
    spec, active = owner.spec, owner.identity.said(ConditionType.ACTIVE)
    ends: list[tuple[datetime, str]] = []
    if spec.expire_after_seconds is not None:
        due = owner.identity.created + timedelta(seconds=spec.expire_after_seconds)
        ends.append((due, "spec.expireAfterSeconds have passed since its creation"))
    running = wanted or observed.replicas or observed.pods
    if spec.delete_after_idle_seconds is not None and not running and active and active.status != "True":
        due = parse_time(active.last_transition_time) + timedelta(seconds=spec.delete_after_idle_seconds)
        ends.append((due, "it has had no replica for spec.deleteAfterIdleSeconds"))
    if not ends:
        return Expiry()
    due, why = min(ends)
    if due <= now:
        return Expiry(why=why)
    return Expiry(requeue_after=(due - now).total_seconds())

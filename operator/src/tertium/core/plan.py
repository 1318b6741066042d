"""What one reconcile wants, as intent and without manifests, and how the model's part of it is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tertium.api.conditions import Reason
from tertium.core import admission
from tertium.core.inspection import Step
from tertium.core.observed import Observed, Owner
from tertium.core.planner import GpuPool, Refused, Sizing, size


@dataclass(frozen=True, slots=True, kw_only=True)
class NoSizing:
    """There is no world size (yet), and why."""

    status: Literal["False", "Unknown"]
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How many replicas, which rule said so, and when to ask it again."""

    replicas: int
    why: str
    start_failed: str = ""
    """What a failed start said; empty: none is remembered."""
    requeue_after: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything one reconcile decided."""

    sizing: Sizing | NoSizing
    scale: Scale
    inspect: Step
    requeue_after: float | None


def plan_model(owner: Owner, observed: Observed) -> Sizing | NoSizing:
    """Return the minimum world size, or why there is none.

    Raises `Terminal` when the user's engine arguments repeat what was planned.
    """
    facts = observed.facts
    if facts is not None and facts.refusal is not None:
        return NoSizing(status="False", reason=facts.refusal.reason, message=str(facts.refusal))
    if facts is None or facts.model is None:
        seen = observed.inspection
        failed = seen.state == "failed"
        return NoSizing(
            status="False" if failed else "Unknown",
            reason=seen.reason if failed else Reason.INSPECTING,
            message=seen.message,
        )
    found = size(facts.model, _pools(owner, observed), owner.spec)
    if isinstance(found, Refused):
        found = size(facts.model, observed.pools, owner.spec)
    if isinstance(found, Refused):
        return NoSizing(status="False", reason=found.reason, message=found.message)
    admission.check_arguments(owner.spec, found.flags)
    return found


def _pools(owner: Owner, observed: Observed) -> Sequence[GpuPool]:
    """Keep running replicas on the GPU they were planned for: a node that joins moves nobody."""
    before = owner.identity.status
    unchanged = before.observed_generation == owner.identity.generation
    if before.plan is None or not unchanged or observed.replicas == 0:
        return observed.pools
    return [pool for pool in observed.pools if pool.product == before.plan.accelerator]

"""What one reconcile wants, as intent and without manifests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tertium.api.conditions import Reason
from tertium.api.v1alpha1 import Placement, PlanStatus, RolloutStatus, StartFailures
from tertium.core.blueprint import Blueprint
from tertium.core.inspection import Step
from tertium.core.learned import NOTHING, Learned
from tertium.core.planner.gpus import RESOURCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Sized:
    """There is a world size: newly computed, or the one that what runs was made by."""

    plan: PlanStatus
    reason: Reason
    """How well it fits."""
    resource: str = RESOURCE
    """What a pod asks the scheduler for to get one such GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoSizing:
    """There is no world size (yet), and why."""

    status: Literal["False", "Unknown"]
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How many replicas the whole deployment should have, and why."""

    replicas: int
    why: str
    rule: str = ""
    """Name of the rule that said so."""
    start_failed: str = ""
    """What a failed start said, while nothing answers because of it; empty: waiting makes sense."""
    requeue_after: float | None = None
    """After how many seconds the answer may be another though nothing happened."""
    idle_after_seconds: int | None = None
    """How long an idle replica is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineGoal:
    """What one revision of the engine's pods should come to."""

    revision: str
    replicas: int
    blueprint: Blueprint | None = None
    """What to make it from; None: it stays as it was made, only its count may change."""
    drop: bool = False
    """Nothing is left of it, and nothing will return to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything one reconcile decided."""

    sizing: Sized | NoSizing
    scale: Scale
    inspect: Step
    requeue_after: float | None
    engines: tuple[EngineGoal, ...] = ()
    costs: Mapping[str, int] = field(default_factory=dict)
    """Deletion cost by pod, of the replicas among which Kubernetes chooses now: the lowest goes first."""
    rollout: RolloutStatus | None = None
    rolled_back: bool = False
    """The wanted revision cannot start, and `onFailure: Rollback` returned to the one that served."""
    placements: tuple[Placement, ...] = ()
    """Accelerators that could not be had, while each rests."""
    start_failures: StartFailures | None = None
    learned: Learned = NOTHING
    """What starts have taught so far, this look at the world included."""
    drift: Mapping[str, int] = field(default_factory=dict)
    """How much more the engine measured than was planned, in percent of a GPU's budget, by part."""
    delete_owner: str = ""
    """Why the deployment itself is to be deleted; empty: it is not."""

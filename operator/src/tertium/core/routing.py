"""Which deployment a `model` name means: the frozen table that routes, model list and holds are made from.

Pure: manifests in, table out. It knows nothing of pods, Envoy or time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import ValidationError

from tertium.api.conditions import ConditionType
from tertium.api.meta import Manifest, ObjectKey, created_at, first_fault
from tertium.api.v1alpha1 import LLMDeploymentSpec
from tertium.core import names
from tertium.core.refusal import Refusal, current_conditions, refusal_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What the gateway needs to know of one deployment."""

    key: ObjectKey
    created: datetime
    uid: str = ""
    short_name: str
    hold_seconds: int
    """How long a caller is held who does not say how long; 0: callers are told when to come back."""
    max_hold_seconds: int
    """The most a caller may ask for."""
    heartbeat_seconds: int
    max_pending: int
    concurrent_sequences: int
    """How many requests one replica works on at the same time."""
    warm_up: bool = False
    """A new replica answers one token to nobody before it gets requests."""
    refusal: Refusal | None
    progress: str = ""
    """What the operator last said about a start, for a caller who waited in vain."""
    starts: tuple[int, ...] = ()
    """How long its last starts took, in milliseconds."""
    prefix_characters: int = 0
    """Requests that have so much in common go to the same replica; 0: to the one with the fewest."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a name leads, as far as Envoy must know."""

    key: ObjectKey
    prefix_characters: int = 0
    uid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingTable:
    """Every deployment and the names that lead to it."""

    models: Mapping[ObjectKey, Model] = field(default_factory=dict)
    routes: Mapping[str, ObjectKey] = field(default_factory=dict)

    def names_of(self, key: ObjectKey) -> tuple[str, ...]:
        """The names that lead to this deployment, the short one first where it won it."""
        model = self.models[key]
        full = str(key)
        return (model.short_name, full) if self.routes.get(model.short_name) == key else (full,)

    def targets(self) -> Mapping[str, Target]:
        """Where each name leads."""
        each = {key: Target(key, it.prefix_characters, it.uid) for key, it in self.models.items()}
        return {name: each[key] for name, key in self.routes.items()}

    def find(self, name: str) -> Model | None:
        """The deployment that `name` means, or None."""
        key = self.routes.get(name)
        return None if key is None else self.models[key]


def build_table(models: Iterable[Model]) -> RoutingTable:
    """Give every model its names.

    `namespace/name` always leads to its deployment. A short name that several claim belongs to the oldest of
    them (by creation, then by key), so that a newcomer never takes over a name that is in use.
    """
    routes: dict[str, ObjectKey] = {}
    by_age = sorted(models, key=lambda model: (model.created, model.key))
    for model in by_age:
        routes.setdefault(model.short_name, model.key)
        routes[str(model.key)] = model.key
    return RoutingTable(models={model.key: model for model in by_age}, routes=routes)


def parse_model(manifest: Manifest) -> Model | str | None:
    """Read one deployment: None when it is being deleted, a sentence when its spec breaks the schema.

    Fields it does not know are ignored: a gateway one version behind the CRD goes on routing.
    """
    if "deletionTimestamp" in manifest["metadata"]:
        return None
    try:
        spec = LLMDeploymentSpec.model_validate(manifest.get("spec", {}), extra="ignore")
    except ValidationError as error:
        return first_fault(error, "spec")
    key = ObjectKey.of(manifest)
    cold_start = spec.cold_start
    hold = cold_start.hold_seconds if cold_start.mode == "Hold" else 0
    recent = manifest.get("status", {}).get("coldStart", {}).get("recent", ())
    return Model(
        key=key,
        created=created_at(manifest),
        uid=manifest["metadata"].get("uid", ""),
        short_name=names.model_names(key, spec.model.served_name)[0],
        hold_seconds=hold,
        max_hold_seconds=max(hold, cold_start.max_hold_seconds),
        heartbeat_seconds=cold_start.heartbeat_seconds,
        max_pending=cold_start.max_pending,
        concurrent_sequences=spec.capacity.concurrent_sequences,
        warm_up=cold_start.warm_up,
        refusal=refusal_of(manifest),
        progress=_progress(manifest),
        starts=tuple(start["totalMillis"] for start in recent),
        prefix_characters=spec.routing.prefix_characters if spec.routing.affinity == "Prefix" else 0,
    )


def _progress(manifest: Manifest) -> str:
    conditions = current_conditions(manifest)
    for kind in (ConditionType.PROGRESSING, ConditionType.PLANNED, ConditionType.ACTIVE):
        condition = conditions.get(kind)
        wanted = "Unknown" if kind == ConditionType.PLANNED else "True"
        if condition is not None and condition["status"] == wanted and condition.get("message"):
            return f"{condition['reason']}: {condition['message']}"
    return ""

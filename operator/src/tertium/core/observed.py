"""Everything one decision rests on, as one frozen snapshot, and how it is read from manifests.

It must not know where manifests come from: a watch, a list or a test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import ValidationError

from tertium.api.conditions import ConditionType, Reason
from tertium.api.meta import Condition, Manifest, ObjectKey, parse_time
from tertium.api.v1alpha1 import LLMDeploymentSpec, LLMDeploymentStatus
from tertium.core.errors import Terminal
from tertium.core.inspection import ABSENT, Inspection
from tertium.core.lifecycle import EnginePod
from tertium.core.load import Load
from tertium.core.planner import GpuPool, ModelFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which object this is about, and what was last said about it."""

    key: ObjectKey
    uid: str
    generation: int
    status: LLMDeploymentStatus

    @classmethod
    def parse(cls, manifest: Manifest) -> Identity:
        """Read an LLMDeployment's metadata and status; a status of another version counts as none."""
        metadata = manifest["metadata"]
        try:
            status = LLMDeploymentStatus.model_validate(manifest.get("status") or {})
        except ValidationError:
            status = LLMDeploymentStatus()
        return cls(
            key=ObjectKey.of(manifest),
            uid=metadata["uid"],
            generation=metadata.get("generation", 0),
            status=status,
        )

    def said(self, kind: ConditionType) -> Condition | None:
        """Return the condition last written, whatever generation it was about."""
        return next((condition for condition in self.status.conditions if condition.type == kind), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """An LLMDeployment whose spec is understood."""

    identity: Identity
    spec: LLMDeploymentSpec

    @property
    def key(self) -> ObjectKey:
        """Its namespace and name."""
        return self.identity.key

    @classmethod
    def parse(cls, manifest: Manifest) -> Owner:
        """Read the whole object. Raises `Terminal` naming the field when the spec is not understood."""
        try:
            spec = LLMDeploymentSpec.model_validate(manifest.get("spec") or {})
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in ("spec", *first["loc"]))
            raise Terminal(Reason.INVALID, f"{field}: {first['msg']}") from error
        return cls(identity=Identity.parse(manifest), spec=spec)


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """The engine's Deployment as it is."""

    replicas: int
    """Replicas its spec asks for."""
    rolling_out: bool
    """Some replicas are of an older template."""

    @classmethod
    def parse(cls, manifest: Manifest) -> Engine:
        """Read a Deployment."""
        spec, status = manifest["spec"], manifest.get("status") or {}
        seen = status.get("observedGeneration", 0) >= manifest["metadata"].get("generation", 0)
        existing = status.get("replicas", 0)
        return cls(
            replicas=spec.get("replicas", 1),
            rolling_out=seen and existing > 0 and status.get("updatedReplicas", 0) < existing,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What an inspection found, and its text as it is stored."""

    text: str
    model: ModelFacts | None
    refusal: Terminal | None
    """Why the planner cannot size this model; None when it can."""

    @property
    def revision(self) -> str:
        """The resolved revision, or the empty text."""
        return self.model.revision if self.model else ""

    @property
    def digest(self) -> str:
        """Digest of config and weight list, or the empty text."""
        return self.model.digest if self.model else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The world as far as one deployment is concerned."""

    engine: Engine | None = None
    pods: Sequence[EnginePod] = ()
    demand_until: datetime | None = None
    """Until when somebody waits for an answer; None: nobody ever did."""
    load: Load | None = None
    """None: not known."""
    facts: Facts | None = None
    facts_stored: bool = False
    inspection: Inspection = ABSENT
    pools: Sequence[GpuPool] = ()
    children: Mapping[tuple[str, str], Manifest] | None = None
    """Live objects by kind and name; for the executor, not for decisions."""

    @property
    def replicas(self) -> int:
        """Replicas asked for now."""
        return self.engine.replicas if self.engine else 0

    @property
    def ready_pods(self) -> Sequence[EnginePod]:
        """Replicas that answer."""
        return [pod for pod in self.pods if pod.ready is not None]

    def wanted(self, now: datetime) -> bool:
        """Whether somebody waits for an answer now."""
        return self.demand_until is not None and now < self.demand_until


def parse_demand(lease: Manifest | None) -> datetime | None:
    """Return until when a demand Lease counts, or None when it was never renewed."""
    spec = (lease or {}).get("spec") or {}
    renewed = spec.get("renewTime")
    if not renewed:
        return None
    return parse_time(renewed) + timedelta(seconds=spec.get("leaseDurationSeconds", 0))

"""Everything one decision rests on, as one frozen snapshot, and how it is read from manifests.

It must not know where manifests come from: a watch, a list or a test.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from pydantic import ValidationError

from tertium.api.conditions import ConditionType, Reason
from tertium.api.meta import Condition, Manifest, ObjectKey, parse_time
from tertium.api.v1alpha1 import LLMDeploymentSpec, LLMDeploymentStatus
from tertium.core import names
from tertium.core.errors import Terminal
from tertium.core.failure import refused_words
from tertium.core.inspection import ABSENT, Inspection
from tertium.core.learned import NOTHING, Learned
from tertium.core.lifecycle import GPU_RESOURCES, EnginePod
from tertium.core.load import Load
from tertium.core.planner import DEFAULT_ENGINE_VERSION, GpuPool, Measured, ModelFacts
from tertium.core.planner.gpus import RESOURCE
from tertium.core.tokens import Tally

_SPOT: Final = {"true": True, "false": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which object this is about, and what was last said about it."""

    key: ObjectKey
    uid: str
    generation: int
    created: datetime
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
            created=parse_time(metadata["creationTimestamp"]),
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
class EngineSet:
    """All replicas of one revision: a Deployment as it is."""

    name: str
    uid: str
    revision: str
    document: Mapping[str, str]
    """The blueprint it was made from; empty: not known."""
    replicas: int
    """Replicas its spec asks for."""
    created: datetime
    accelerator: str = ""
    resource: str = RESOURCE
    """What its pods ask the scheduler for to get a GPU."""
    spot: bool | None = None
    stuck: str = ""
    """Why no pod of it can be made, in the API server's words: a quota, a policy; empty: nothing says so."""
    stuck_since: datetime | None = None

    @classmethod
    def parse(cls, manifest: Manifest) -> EngineSet:
        """Read an engine Deployment."""
        metadata, spec = manifest["metadata"], manifest["spec"]
        stuck = _replica_failure(manifest)
        pod = spec["template"]["spec"]
        resource = _gpu_resource(pod)
        return cls(
            name=metadata["name"],
            uid=metadata["uid"],
            revision=(metadata.get("labels") or {}).get(names.REVISION_LABEL, names.UNVERSIONED),
            document=_document(metadata.get("annotations") or {}),
            replicas=spec.get("replicas", 1),
            created=parse_time(metadata["creationTimestamp"]),
            accelerator=(pod.get("nodeSelector") or {}).get(f"{resource}.product", ""),
            resource=resource,
            spot=_SPOT.get((metadata.get("annotations") or {}).get(names.SPOT_ANNOTATION, "")),
            stuck=refused_words(stuck.get("message", "")),
            stuck_since=parse_time(stuck["lastTransitionTime"]) if stuck else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Facts:
    """What an inspection found, and its text as it is stored. Read once, so told apart by identity."""

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

    engines: Sequence[EngineSet] = ()
    """Its revisions, newest first."""
    pods: Sequence[EnginePod] = ()
    """Replicas, those included that are on their way out."""
    ended_pods: Sequence[EnginePod] = ()
    """Records of replicas that are gone: evicted, refused by their node."""
    demand_until: datetime | None = None
    """Until when somebody waits for an answer; None: nobody does."""
    load: Load | None = None
    """None: not known."""
    tally: Tally | None = None
    """Requests and tokens the gateways have counted; None: they were not asked."""
    facts: Facts | None = None
    facts_stored: bool = False
    inspection: Inspection = ABSENT
    pools: tuple[GpuPool, ...] = ()
    engine_version: str = DEFAULT_ENGINE_VERSION
    """Release of the engine that replicas are made with."""
    learned: Learned = NOTHING
    """What earlier starts have taught."""
    heard: Mapping[str, Measured] = field(default_factory=dict)
    """What replicas measured that was not learned yet, by revision."""
    name_taken_by: ObjectKey | None = None
    """The older deployment that has the short name this one asks for."""
    children: Mapping[tuple[str, str], Manifest] | None = None
    """Live objects by kind and name; for the executor, not for decisions."""

    @property
    def digest(self) -> str:
        """Digest of the model's config and weights; empty: the model is not known."""
        return self.facts.digest if self.facts else ""

    def made_by(self, revision: str) -> EngineSet | None:
        """Return the Deployment of a revision, or None when there is none."""
        return next((engine for engine in self.engines if engine.revision == revision), None)

    @property
    def replicas(self) -> int:
        """Replicas that all revisions together ask for now."""
        return sum(engine.replicas for engine in self.engines)

    @property
    def ready_pods(self) -> Sequence[EnginePod]:
        """Replicas that answer."""
        return [pod for pod in self.pods if pod.ready is not None]

    def wanted(self, now: datetime) -> bool:
        """Whether somebody waits for an answer now."""
        return self.demand_until is not None and now < self.demand_until


def _document(annotations: Mapping[str, str]) -> Mapping[str, str]:
    """Return the stored blueprint; one that cannot be read counts as unknown."""
    try:
        document = json.loads(annotations.get(names.BLUEPRINT_ANNOTATION, "{}"))
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _gpu_resource(pod: Mapping[str, Any]) -> str:
    limits = [(container.get("resources") or {}).get("limits") or {} for container in pod["containers"]]
    found = (name for resources in limits for name in resources if name.startswith(GPU_RESOURCES))
    return next(found, RESOURCE)


def _replica_failure(manifest: Manifest) -> Mapping[str, Any]:
    conditions = (manifest.get("status") or {}).get("conditions") or ()
    return next(
        (item for item in conditions if item["type"] == "ReplicaFailure" and item["status"] == "True"), {}
    )

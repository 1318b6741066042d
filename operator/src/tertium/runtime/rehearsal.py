"""One reconcile on a snapshot: the real code, and a cluster that notes writes and sends nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry

from tertium.api.meta import Manifest, ObjectKey
from tertium.core.errors import Retryable
from tertium.kube.cluster import LLM_DEPLOYMENT, Cluster, Kind, WatchEvent
from tertium.runtime.controller import Controller, Outcome
from tertium.runtime.metrics import Metrics
from tertium.runtime.queue import WorkQueue
from tertium.runtime.relist import relist
from tertium.runtime.snapshot import Snapshot
from tertium.runtime.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What a reconcile would do."""

    outcome: Outcome | None
    """None: it would be repeated, because of `fault`."""
    fault: str
    status: Mapping[str, Any]
    """The status as it would be after that."""
    applied: Sequence[Manifest]
    """What would be applied, in order; the status, if it changes, is among them."""
    events: Sequence[str]


async def rehearse(snapshot: Snapshot, key: ObjectKey, live: Cluster | None = None) -> Rehearsal:
    """Do one pass over the snapshot at its own time. What it lacks is read from `live`, and added to it."""
    cluster, store = RehearsalCluster(snapshot, live), Store()
    await relist(cluster, store)
    store.reports = snapshot.reports
    controller = Controller(
        cluster,
        store,
        WorkQueue[ObjectKey](),
        snapshot.policy,
        _StoppedClock(snapshot.taken_at),
        metrics=Metrics(CollectorRegistry()),
    )
    outcome, fault = None, ""
    try:
        outcome = await controller.reconcile(key)
    except Retryable as error:
        fault = str(error)
    owner: Manifest = store.owners.get(key, {})
    statuses = [manifest["status"] for manifest in cluster.applied if "status" in manifest]
    return Rehearsal(
        outcome=outcome,
        fault=fault,
        status=statuses[-1] if statuses else owner.get("status") or {},
        applied=tuple(cluster.applied),
        events=tuple(cluster.events),
    )


@dataclass(slots=True)
class RehearsalCluster:
    """`Cluster` on a snapshot; writes succeed and are only noted."""

    snapshot: Snapshot
    live: Cluster | None
    applied: list[Manifest] = field(default_factory=list)
    events: list[str] = field(default_factory=list)

    async def get(self, kind: Kind, key: ObjectKey) -> Manifest | None:
        """Return the object of the snapshot, else the live one."""
        for manifest in self.snapshot.objects:
            if manifest.get("kind") == kind.kind and ObjectKey.of(manifest) == key:
                return manifest
        found = await self.live.get(kind, key) if self.live else None
        if found is not None:
            self.snapshot.objects.append(dict(found))
        return found

    async def list(
        self, kind: Kind, *, namespace: str | None = None, labels: str = "", fields: str = ""
    ) -> Sequence[Manifest]:
        """Return the objects of the snapshot."""
        wanted = _terms(labels)
        return [
            manifest
            for manifest in self.snapshot.objects
            if manifest.get("kind") == kind.kind
            and namespace in (None, manifest["metadata"].get("namespace"))
            and wanted.items() <= (manifest["metadata"].get("labels") or {}).items()
            and all(_at(manifest, path) == value for path, value in _terms(fields).items())
        ]

    async def pages(self, kind: Kind, *, labels: str = "") -> AsyncIterator[Sequence[Manifest]]:
        """Yield them all at once."""
        yield await self.list(kind, labels=labels)

    async def pod_log(
        self, key: ObjectKey, container: str, *, tail_lines: int | None, previous: bool = False
    ) -> str:
        """Return the log of the snapshot, else the live one."""
        part = "beginning" if tail_lines is None else "end"
        name = f"{key.name}/{container}/{'previous' if previous else 'current'}/{part}"
        if name not in self.snapshot.logs and self.live is not None:
            text = await self.live.pod_log(key, container, tail_lines=tail_lines, previous=previous)
            self.snapshot.logs[name] = text
        return self.snapshot.logs.get(name, "")

    async def apply(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Note it."""
        self.applied.append(manifest)
        return manifest

    async def apply_status(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Note it."""
        self.applied.append(manifest)
        return manifest

    async def replace(self, kind: Kind, manifest: Manifest) -> Manifest | None:
        """Note it."""
        self.applied.append(manifest)
        return manifest

    async def scale(self, kind: Kind, key: ObjectKey, replicas: int, *, uid: str) -> str:
        """Succeed."""
        return ""

    async def annotate(
        self, kind: Kind, key: ObjectKey, annotations: Mapping[str, str], *, uid: str, manager: str
    ) -> Manifest:
        """Succeed."""
        found = await self.get(kind, key)
        return found or {"kind": kind.kind, "metadata": {"name": key.name, "namespace": key.namespace}}

    async def event(
        self, kind: Kind, key: ObjectKey, *, uid: str, type: str, reason: str, message: str, now: datetime
    ) -> None:
        """Note it."""
        self.events.append(f"{type} {reason}: {message}")

    async def delete(self, kind: Kind, key: ObjectKey, *, uid: str, version: str = "") -> None:
        """Succeed."""

    async def renew_lease(self, key: ObjectKey, claims: Mapping[str, str | None]) -> Manifest:
        """Succeed."""
        return {"kind": "Lease", "metadata": {"name": key.name, "namespace": key.namespace}}

    async def watch(self, kind: Kind, *, labels: str = "") -> AsyncIterator[WatchEvent]:
        """Yield the objects of the snapshot: nothing changes any more."""
        for manifest in await self.list(kind, labels=labels):
            yield WatchEvent("LISTED", manifest)
        yield WatchEvent("SYNCED", None)


def _terms(selector: str) -> dict[str, str]:
    return dict(term.split("=", 1) for term in selector.split(",") if term)


def _at(manifest: Manifest, path: str) -> Any:
    """Return the value of a field, or None."""
    value: Any = manifest
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


@dataclass(frozen=True, slots=True)
class _StoppedClock:
    time: datetime

    def now(self) -> datetime:
        return self.time


def with_spec(snapshot: Snapshot, manifest: Manifest) -> Snapshot:
    """Return the snapshot as if `manifest` had just been applied; what it lacks is as at its creation."""
    key = ObjectKey.of(manifest)
    known = next(
        (
            found
            for found in snapshot.objects
            if found.get("kind") == LLM_DEPLOYMENT.kind and ObjectKey.of(found) == key
        ),
        None,
    )
    changed = known is None or known.get("spec") != manifest.get("spec")
    before: Mapping[str, Any] = known or {"metadata": {"uid": "not-yet", "resourceVersion": "0"}}
    generation = before["metadata"].get("generation", 0) + (1 if changed else 0)
    applied = {
        **before,
        **manifest,
        "metadata": {
            "creationTimestamp": snapshot.taken_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            **before["metadata"],
            **manifest["metadata"],
            "generation": generation,
        },
    }
    rest = [found for found in snapshot.objects if found is not known]
    return snapshot.model_copy(update={"objects": [applied, *rest]})

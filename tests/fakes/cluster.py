"""A cluster in memory with the semantics that matter: field ownership, status apart, versions, conflicts.

For fast unit tests. What is shown by it alone is not shown: the same is seen on a real API server elsewhere.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias

from tertium.api.meta import Manifest, ObjectKey, format_time
from tertium.core.errors import Retryable
from tertium.kube.cluster import LEASE, Kind, WatchEvent

Path: TypeAlias = tuple[str, ...]
Id: TypeAlias = tuple[str, ObjectKey]


class FakeCluster:
    """Implements `Cluster`; `calls` are the writes it took, `fail` may raise before each of them."""

    def __init__(self) -> None:
        self.objects: dict[Id, dict[str, Any]] = {}
        self.calls: list[tuple[str, str, str]] = []
        self.logs: dict[tuple[str, str], str] = {}
        self.fail: Callable[[str, str, str], None] = lambda verb, kind, name: None
        self._owned: dict[Id, dict[str, set[Path]]] = {}
        self._version = 100
        self._watchers: list[tuple[str, str, asyncio.Queue[WatchEvent]]] = []

    def put(self, manifest: Manifest) -> dict[str, Any]:
        """Set an object as somebody else would have; return it as it now is."""
        stored = copy.deepcopy(dict(manifest))
        key = (stored["kind"], ObjectKey.of(stored))
        return self._store(key, stored, known=self.objects.get(key))

    def remove(self, kind: Kind, key: ObjectKey) -> None:
        """Delete an object as somebody else would have."""
        gone = self.objects.pop((kind.kind, key), None)
        self._owned.pop((kind.kind, key), None)
        if gone is not None:
            self._tell("DELETED", gone)

    def one(self, kind: Kind, name: str, namespace: str = "team-a") -> dict[str, Any]:
        """Return an object that must exist."""
        return self.objects[(kind.kind, ObjectKey(namespace, name))]

    async def get(self, kind: Kind, key: ObjectKey) -> Manifest | None:
        self.fail("get", kind.kind, key.name)
        return copy.deepcopy(self.objects.get((kind.kind, key)))

    async def list(self, kind: Kind, *, namespace: str | None = None, labels: str = "") -> Sequence[Manifest]:
        self.fail("list", kind.kind, "")
        return [
            copy.deepcopy(manifest)
            for (stored_kind, key), manifest in self.objects.items()
            if stored_kind == kind.kind and namespace in (None, key.namespace) and _matches(manifest, labels)
        ]

    async def apply(self, kind: Kind, manifest: Manifest) -> Manifest:
        content = {name: value for name, value in manifest.items() if name != "status"}
        return self._apply(kind, "tertium", content)

    async def apply_status(self, kind: Kind, manifest: Manifest) -> None:
        key = ObjectKey.of(manifest)
        if (kind.kind, key) not in self.objects:
            raise Retryable(f"apply status of {kind.kind} {key}: not found")
        self._apply(kind, "tertium-status", {"status": manifest["status"]}, key=key, verb="apply_status")

    async def delete(self, kind: Kind, key: ObjectKey, *, uid: str) -> None:
        self._record("delete", kind, key)
        known = self.objects.get((kind.kind, key))
        if known is not None and known["metadata"]["uid"] == uid:
            self.remove(kind, key)

    async def pod_log(
        self, key: ObjectKey, container: str, *, tail_lines: int, previous: bool = False
    ) -> str:
        self.fail("log", "Pod", key.name)
        return self.logs.get((key.name, container), "")

    async def renew_lease(self, key: ObjectKey, holder: str, now: datetime) -> None:
        known = self.objects.get((LEASE.kind, key))
        if known is None:
            raise Retryable(f"renew Lease {key}: not found")
        changed = copy.deepcopy(known)
        changed["spec"] |= {"holderIdentity": holder, "renewTime": format_time(now, micro=True)}
        self._store((LEASE.kind, key), changed, known=known)

    async def watch(self, kind: Kind, *, labels: str = "") -> AsyncIterator[WatchEvent]:
        events: asyncio.Queue[WatchEvent] = asyncio.Queue()
        self._watchers.append((kind.kind, labels, events))
        for manifest in await self.list(kind, labels=labels):
            yield WatchEvent("LISTED", manifest)
        yield WatchEvent("SYNCED", None)
        while True:
            yield await events.get()

    def _apply(
        self,
        kind: Kind,
        manager: str,
        content: dict[str, Any],
        *,
        key: ObjectKey | None = None,
        verb: str = "apply",
    ) -> Manifest:
        key = key or ObjectKey.of(content)
        self._record(verb, kind, key)
        object_id = (kind.kind, key)
        known = self.objects.get(object_id)
        changed = copy.deepcopy(known) if known else {"apiVersion": kind.api_version, "kind": kind.kind}
        owners = self._owned.setdefault(object_id, {})
        paths = set(_leaves(content))
        others = set().union(*(owned for name, owned in owners.items() if name != manager))
        for path in owners.get(manager, set()) - paths - others:
            _remove(changed, path)
        owners[manager] = paths
        _merge(changed, copy.deepcopy(content))
        return copy.deepcopy(self._store(object_id, changed, known=known))

    def _store(self, object_id: Id, manifest: dict[str, Any], *, known: Manifest | None) -> dict[str, Any]:
        if known is not None and manifest == known:
            return manifest
        self._version += 1
        metadata = manifest.setdefault("metadata", {})
        metadata.setdefault("uid", f"uid-{self._version}")
        metadata.setdefault("creationTimestamp", "2026-11-21T11:00:00Z")
        if known is None or known.get("spec") != manifest.get("spec"):
            metadata["generation"] = metadata.get("generation", 0) + (1 if known else 0) or 1
        metadata["resourceVersion"] = str(self._version)
        self.objects[object_id] = manifest
        self._tell("MODIFIED" if known else "ADDED", manifest)
        return manifest

    def _record(self, verb: str, kind: Kind, key: ObjectKey) -> None:
        self.fail(verb, kind.kind, key.name)
        self.calls.append((verb, kind.kind, key.name))

    def _tell(self, change: Any, manifest: Manifest) -> None:
        for kind, labels, events in self._watchers:
            if kind == manifest["kind"] and _matches(manifest, labels):
                events.put_nowait(WatchEvent(change, copy.deepcopy(manifest)))


def _matches(manifest: Manifest, labels: str) -> bool:
    own = manifest["metadata"].get("labels") or {}
    return all(
        own.get(name) == value
        for name, _, value in (term.partition("=") for term in labels.split(",") if term)
    )


def _leaves(content: Mapping[str, Any], prefix: Path = ()) -> Iterator[Path]:
    for name, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*prefix, name))
        else:
            yield (*prefix, name)


def _merge(into: dict[str, Any], content: dict[str, Any]) -> None:
    for name, value in content.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = value


def _remove(manifest: dict[str, Any], path: Path) -> None:
    """Remove a field, and the parents it leaves empty, as the API server does."""
    inner = manifest.get(path[0])
    if len(path) > 1 and isinstance(inner, dict):
        _remove(inner, path[1:])
    if len(path) == 1 or inner == {}:
        manifest.pop(path[0], None)

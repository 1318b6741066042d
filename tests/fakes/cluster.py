"""A cluster in memory with the semantics that matter: field ownership, status apart, versions, conflicts.

For fast unit tests. What is shown by it alone is not shown: the same is seen on a real API server elsewhere.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias

from tertium.api.meta import Manifest, ObjectKey
from tertium.core import names
from tertium.core.errors import Retryable
from tertium.kube.cluster import EVENT, LEASE, Kind, WatchEvent
from tertium.kube.events import build_event

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

    async def list(
        self, kind: Kind, *, namespace: str | None = None, labels: str = "", fields: str = ""
    ) -> Sequence[Manifest]:
        self.fail("list", kind.kind, "")
        return [
            copy.deepcopy(manifest)
            for (stored_kind, key), manifest in self.objects.items()
            if stored_kind == kind.kind
            and namespace in (None, key.namespace)
            and _matches(manifest, labels)
            and _has(manifest, fields)
        ]

    async def pages(self, kind: Kind, *, labels: str = "") -> AsyncIterator[Sequence[Manifest]]:
        yield await self.list(kind, labels=labels)

    async def apply(self, kind: Kind, manifest: Manifest) -> Manifest:
        content = {name: value for name, value in manifest.items() if name != "status"}
        return self._apply(kind, "tertium", content)

    async def apply_status(self, kind: Kind, manifest: Manifest) -> Manifest:
        key = ObjectKey.of(manifest)
        if (kind.kind, key) not in self.objects:
            raise Retryable(f"apply status of {kind.kind} {key}: not found")
        content = {"status": manifest["status"]}
        return self._apply(kind, "tertium-status", content, key=key, verb="apply_status")

    async def replace(self, kind: Kind, manifest: Manifest) -> Manifest | None:
        key = ObjectKey.of(manifest)
        self._record("replace", kind, key)
        known = self.objects.get((kind.kind, key))
        version = manifest["metadata"].get("resourceVersion")
        if version != (known["metadata"]["resourceVersion"] if known else None):
            return None
        changed = copy.deepcopy(dict(manifest))
        changed["metadata"] = {**(known["metadata"] if known else {}), **changed["metadata"]}
        return copy.deepcopy(self._store((kind.kind, key), changed, known=known))

    async def scale(self, kind: Kind, key: ObjectKey, replicas: int, *, uid: str) -> str:
        self._record("scale", kind, key)
        known = self._own(kind, key, uid, f"scale {kind.kind} {key} to {replicas}")
        changed = copy.deepcopy(known)
        changed["spec"]["replicas"] = replicas
        if replicas != known["spec"].get("replicas"):
            owners = self._owned.setdefault((kind.kind, key), {})
            for paths in owners.values():
                paths.discard(("spec", "replicas"))
            owners[names.SCALE_FIELD_MANAGER] = {("spec", "replicas")}
        return str(self._store((kind.kind, key), changed, known=known)["metadata"]["resourceVersion"])

    async def annotate(
        self, kind: Kind, key: ObjectKey, annotations: Mapping[str, str], *, uid: str, manager: str
    ) -> Manifest:
        self._own(kind, key, uid, f"annotate {kind.kind} {key}")
        content = {"metadata": {"annotations": dict(annotations)}}
        return self._apply(kind, manager, content, key=key, verb="annotate")

    async def event(
        self, kind: Kind, key: ObjectKey, *, uid: str, type: str, reason: str, message: str, now: datetime
    ) -> None:
        said = build_event(kind, key, uid=uid, type=type, reason=reason, message=message, now=now)
        self._apply(EVENT, "tertium", dict(said), verb="event")

    def _own(self, kind: Kind, key: ObjectKey, uid: str, what: str) -> dict[str, Any]:
        """Return the object with this uid; raise what the API server's 404 or 409 becomes."""
        known = self.objects.get((kind.kind, key))
        if known is None or known["metadata"]["uid"] != uid:
            raise Retryable(f"{what}: {'not found' if known is None else 'it has another uid'}")
        return known

    async def delete(self, kind: Kind, key: ObjectKey, *, uid: str, version: str = "") -> None:
        self._record("delete", kind, key)
        known = self.objects.get((kind.kind, key))
        if known is None:
            return
        if uid != known["metadata"]["uid"] or version not in ("", known["metadata"]["resourceVersion"]):
            raise Retryable(f"delete {kind.kind} {key}: the API server answered 409: it is another one now")
        self.remove(kind, key)

    async def pod_log(
        self, key: ObjectKey, container: str, *, tail_lines: int | None, previous: bool = False
    ) -> str:
        self.fail("log", "Pod", key.name)
        return self.logs.get((key.name, container), "")

    async def renew_lease(self, key: ObjectKey, claims: Mapping[str, str | None]) -> Manifest:
        known = self.objects.get((LEASE.kind, key))
        if known is None:
            raise Retryable(f"renew Lease {key}: not found")
        changed = copy.deepcopy(known)
        merged = {**(changed["metadata"].get("annotations") or {}), **claims}
        changed["metadata"]["annotations"] = {name: text for name, text in merged.items() if text is not None}
        return self._store((LEASE.kind, key), changed, known=known)

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
        # Force: whoever said something else about a field has lost it.
        lost = {path for path in paths & others if _at(known, path) != _at(changed, path)}
        for name in owners.keys() - {manager}:
            owners[name] -= lost
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
        self._tell("MODIFIED" if known else "ADDED", manifest, before=known)
        return manifest

    def _record(self, verb: str, kind: Kind, key: ObjectKey) -> None:
        self.fail(verb, kind.kind, key.name)
        self.calls.append((verb, kind.kind, key.name))

    def _tell(self, change: Any, manifest: Manifest, *, before: Manifest | None = None) -> None:
        """Tell the watches; an object that enters or leaves their selector comes or goes for them."""
        for kind, labels, events in self._watchers:
            if kind != manifest["kind"]:
                continue
            was, fits = before is not None and _matches(before, labels), _matches(manifest, labels)
            seen: Any = change if change == "DELETED" or was == fits else "ADDED" if fits else "DELETED"
            if fits or was:
                events.put_nowait(WatchEvent(seen, copy.deepcopy(manifest)))


def _matches(manifest: Manifest, labels: str) -> bool:
    own = manifest["metadata"].get("labels") or {}
    return all(
        own.get(name) == value
        for name, _, value in (term.partition("=") for term in labels.split(",") if term)
    )


def _has(manifest: Manifest, fields: str) -> bool:
    terms = (term.partition("=") for term in fields.split(",") if term)
    return all(_at(manifest, tuple(path.split("."))) == value for path, _, value in terms)


def _at(manifest: Manifest | None, path: Path) -> Any:
    """Return the value of a field, or None."""
    value: Any = manifest
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


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

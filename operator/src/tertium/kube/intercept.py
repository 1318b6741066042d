"""A cluster that has every call pass a gate: to count it, to bound it, to refuse it.

It must not know why. The gate of a call is entered before the call is sent and left after its answer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Final, TypeAlias

from tertium.api.meta import Manifest, ObjectKey
from tertium.kube.cluster import EVENT, LEASE, POD, Cluster, Kind, WatchEvent

Gate: TypeAlias = Callable[[str, Kind], AbstractAsyncContextManager[None]]
"""Takes the verb (the name of a method of `Cluster`) and the kind."""

READS: Final = frozenset({"get", "list", "pages", "pod_log", "watch"})
"""Verbs that change nothing."""


class InterceptedCluster:
    """`Cluster` whose calls pass `gate`. A watch, which never ends, passes freely."""

    def __init__(self, cluster: Cluster, gate: Gate) -> None:
        self._cluster = cluster
        self._gate = gate

    async def get(self, kind: Kind, key: ObjectKey) -> Manifest | None:
        """See `Cluster.get`."""
        async with self._gate("get", kind):
            return await self._cluster.get(kind, key)

    async def list(
        self, kind: Kind, *, namespace: str | None = None, labels: str = "", fields: str = ""
    ) -> Sequence[Manifest]:
        """See `Cluster.list`."""
        async with self._gate("list", kind):
            return await self._cluster.list(kind, namespace=namespace, labels=labels, fields=fields)

    async def pages(self, kind: Kind, *, labels: str = "") -> AsyncIterator[Sequence[Manifest]]:
        """See `Cluster.pages`; the pages together are one list."""
        async with self._gate("pages", kind):
            async for page in self._cluster.pages(kind, labels=labels):
                yield page

    async def apply(self, kind: Kind, manifest: Manifest) -> Manifest:
        """See `Cluster.apply`."""
        async with self._gate("apply", kind):
            return await self._cluster.apply(kind, manifest)

    async def apply_status(self, kind: Kind, manifest: Manifest) -> Manifest:
        """See `Cluster.apply_status`."""
        async with self._gate("apply_status", kind):
            return await self._cluster.apply_status(kind, manifest)

    async def replace(self, kind: Kind, manifest: Manifest) -> Manifest | None:
        """See `Cluster.replace`."""
        async with self._gate("replace", kind):
            return await self._cluster.replace(kind, manifest)

    async def scale(self, kind: Kind, key: ObjectKey, replicas: int, *, uid: str) -> str:
        """See `Cluster.scale`."""
        async with self._gate("scale", kind):
            return await self._cluster.scale(kind, key, replicas, uid=uid)

    async def annotate(
        self, kind: Kind, key: ObjectKey, annotations: Mapping[str, str], *, uid: str, manager: str
    ) -> Manifest:
        """See `Cluster.annotate`."""
        async with self._gate("annotate", kind):
            return await self._cluster.annotate(kind, key, annotations, uid=uid, manager=manager)

    async def event(
        self, kind: Kind, key: ObjectKey, *, uid: str, type: str, reason: str, message: str, now: datetime
    ) -> None:
        """See `Cluster.event`."""
        async with self._gate("event", EVENT):
            await self._cluster.event(kind, key, uid=uid, type=type, reason=reason, message=message, now=now)

    async def delete(self, kind: Kind, key: ObjectKey, *, uid: str, version: str = "") -> None:
        """See `Cluster.delete`."""
        async with self._gate("delete", kind):
            await self._cluster.delete(kind, key, uid=uid, version=version)

    async def pod_log(
        self, key: ObjectKey, container: str, *, tail_lines: int | None, previous: bool = False
    ) -> str:
        """See `Cluster.pod_log`."""
        async with self._gate("pod_log", POD):
            return await self._cluster.pod_log(key, container, tail_lines=tail_lines, previous=previous)

    async def renew_lease(self, key: ObjectKey, claims: Mapping[str, str | None]) -> Manifest:
        """See `Cluster.renew_lease`."""
        async with self._gate("renew_lease", LEASE):
            return await self._cluster.renew_lease(key, claims)

    def watch(self, kind: Kind, *, labels: str = "") -> AsyncIterator[WatchEvent]:
        """See `Cluster.watch`."""
        return self._cluster.watch(kind, labels=labels)

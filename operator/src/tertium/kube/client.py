"""The real cluster: plain JSON objects, server-side apply for every write.

It knows paths, patch types and how to follow a kind. It must not know what the objects mean.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

import aiohttp

from tertium.api.meta import Manifest, ObjectKey, format_time
from tertium.core import names
from tertium.core.errors import Retryable, TertiumError
from tertium.kube.cluster import LEASE, POD, Kind, WatchEvent
from tertium.kube.connection import Answer, Connection, connect, words
from tertium.kube.errors import error_of, message_of

LEASE_FIELD_MANAGER: Final = "tertium-gateway"
PAGE_LIMIT: Final = 500
LOG_LIMIT_BYTES: Final = 1_048_576

_APPLY: Final = "application/apply-patch+yaml"
_MERGE: Final = "application/merge-patch+json"
_LIST_LIMIT: Final = aiohttp.ClientTimeout(total=60, connect=5)
_WATCH_SECONDS: Final = 290
# Bookmarks come about once a minute on a quiet watch: silence for longer is a dead connection.
_WATCH_LIMIT: Final = aiohttp.ClientTimeout(total=_WATCH_SECONDS + 20, connect=5, sock_read=100)
_PAUSES: Final = (0.05, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

_log = logging.getLogger(__name__)


class KubeCluster:
    """`Cluster` on a real API server."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    @asynccontextmanager
    async def connect(cls) -> AsyncIterator[KubeCluster]:
        """Connect as the pod's service account, else by the kubeconfig. Raises `Terminal` without either."""
        async with connect() as connection:
            yield cls(connection)

    async def get(self, kind: Kind, key: ObjectKey) -> Manifest | None:
        """Return the object, or None when there is none."""
        answer = await self._connection.call("GET", _path(kind, key.namespace, key.name))
        if answer.status == 404:
            return None
        return _object(answer, f"get {kind.kind} {key}")

    async def list(self, kind: Kind, *, namespace: str | None = None, labels: str = "") -> Sequence[Manifest]:
        """Return the objects that match the label selector, in one namespace or in all."""
        return (await self._list(kind, namespace or "", labels))[0]

    async def apply(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Server-side apply as field manager `tertium`, forced; return the object as it now is."""
        key = ObjectKey.of(manifest)
        path = _path(kind, key.namespace, key.name)
        return await self._apply(path, names.FIELD_MANAGER, manifest, f"apply {kind.kind} {key}")

    async def apply_status(self, kind: Kind, manifest: Manifest) -> None:
        """Server-side apply of the status subresource as field manager `tertium-status`, forced."""
        key = ObjectKey.of(manifest)
        path = f"{_path(kind, key.namespace, key.name)}/status"
        await self._apply(path, names.STATUS_FIELD_MANAGER, manifest, f"apply status of {kind.kind} {key}")

    async def delete(self, kind: Kind, key: ObjectKey, *, uid: str) -> None:
        """Delete the object if it still has this uid; an absent one is no error. Dependents go too."""
        options = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        path = _path(kind, key.namespace, key.name)
        answer = await self._connection.call("DELETE", path, body=options)
        # 409 is the uid of a successor: the object asked about is gone.
        if answer.status not in (404, 409):
            _object(answer, f"delete {kind.kind} {key}")

    async def pod_log(
        self, key: ObjectKey, container: str, *, tail_lines: int, previous: bool = False
    ) -> str:
        """Return the end of a container's log; empty when there is none."""
        query = {"container": container, "tailLines": str(tail_lines), "limitBytes": str(LOG_LIMIT_BYTES)}
        if previous:
            query["previous"] = "true"
        path = f"{_path(POD, key.namespace, key.name)}/log"
        answer = await self._connection.call("GET", path, query=query)
        if answer.status in (400, 404):  # 400: the container has not started
            return ""
        if answer.status >= 400:
            raise error_of(answer.status, f"read log of Pod {key}", answer.body, answer.retry_after)
        return answer.body

    async def renew_lease(self, key: ObjectKey, holder: str, now: datetime) -> None:
        """Set holder and renew time of a Lease that exists. Raises `Retryable` when it does not exist yet."""
        answer = await self._connection.call(
            "PATCH",
            _path(LEASE, key.namespace, key.name),
            query={"fieldManager": LEASE_FIELD_MANAGER},
            body={"spec": {"holderIdentity": holder, "renewTime": format_time(now, micro=True)}},
            content_type=_MERGE,
        )
        _object(answer, f"renew Lease {key}")

    async def watch(self, kind: Kind, *, labels: str = "") -> AsyncIterator[WatchEvent]:
        """List, then follow the kind in all namespaces, for ever; reconnects and lists anew by itself."""
        version = ""
        failures = 0
        while True:
            asked_for = 0.0
            try:
                if not version:
                    items, version = await self._list(kind, "", labels)
                    for item in items:
                        yield WatchEvent("LISTED", item)
                    yield WatchEvent("SYNCED", None)
                async for event, resume_at in self._follow(kind, labels, version):
                    version = resume_at
                    failures = 0
                    if event is not None:
                        yield event
            except _Expired:
                version = ""
            except TertiumError as fault:
                asked_for = getattr(fault, "after", None) or 0.0
                _log.warning("watch interrupted", extra={"kind": kind.kind, "why": str(fault)})
            # An answer's end is normal, but a server that ends them at once must not be hammered.
            pause = _PAUSES[min(failures, len(_PAUSES) - 1)] * (0.5 + random.random())
            failures += 1
            await asyncio.sleep(max(pause, asked_for))

    async def _follow(
        self, kind: Kind, labels: str, version: str
    ) -> AsyncIterator[tuple[WatchEvent | None, str]]:
        """Yield the changes after `version`, each with the version to go on from, until the answer ends."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        if labels:
            query["labelSelector"] = labels
        what = f"watch {kind.plural}"
        try:
            response = await self._connection.send("GET", _path(kind), query=query, limit=_WATCH_LIMIT)
            async with response:
                if response.status >= 400:
                    raise _watch_error(response.status, what, await response.text())
                async for line in response.content:
                    change = json.loads(line)
                    manifest = change["object"]
                    if change["type"] == "ERROR":
                        raise _watch_error(manifest.get("code", 500), what, json.dumps(manifest))
                    resume_at = manifest["metadata"]["resourceVersion"]
                    if change["type"] == "BOOKMARK":
                        yield None, resume_at
                    else:
                        yield WatchEvent(change["type"], _trimmed(manifest)), resume_at
        except aiohttp.ServerTimeoutError:
            return
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise Retryable(f"{what}: the connection broke: {words(error)}") from error

    async def _list(self, kind: Kind, namespace: str, labels: str) -> tuple[Sequence[Manifest], str]:
        """Return all pages of a list and the version to watch from.

        Raises `_Expired` when the pages outlived the server's history.
        """
        found: list[Manifest] = []
        what = f"list {kind.plural}"
        query = {"limit": str(PAGE_LIMIT)}
        if labels:
            query["labelSelector"] = labels
        while True:
            answer = await self._connection.call(
                "GET", _path(kind, namespace), query=query, limit=_LIST_LIMIT
            )
            if answer.status == 410:
                raise _Expired(f"{what}: its continuation has expired")
            page = _object(answer, what)
            for item in page.get("items") or ():
                item["apiVersion"], item["kind"] = kind.api_version, kind.kind
                found.append(_trimmed(item))
            metadata = page["metadata"]
            if not metadata.get("continue"):
                return found, metadata["resourceVersion"]
            query["continue"] = metadata["continue"]

    async def _apply(self, path: str, manager: str, manifest: Manifest, what: str) -> Manifest:
        query = {"fieldManager": manager, "force": "true"}
        answer = await self._connection.call("PATCH", path, query=query, body=manifest, content_type=_APPLY)
        return _object(answer, what)


class _Expired(Retryable):
    """The server's history no longer holds the version asked for: list anew."""


def _path(kind: Kind, namespace: str = "", name: str = "") -> str:
    root = "/api/v1" if kind.api_version == "v1" else f"/apis/{kind.api_version}"
    inside = f"/namespaces/{namespace}" if kind.namespaced and namespace else ""
    return f"{root}{inside}/{kind.plural}" + (f"/{name}" if name else "")


def _object(answer: Answer, what: str) -> dict[str, Any]:
    if answer.status >= 400:
        raise error_of(answer.status, what, answer.body, answer.retry_after)
    try:
        parsed = json.loads(answer.body)
    except ValueError as error:
        raise Retryable(f"{what}: the API server's answer is not JSON") from error
    return _trimmed(parsed)


def _trimmed(manifest: dict[str, Any]) -> dict[str, Any]:
    """Drop what nobody here reads and every object carries: managedFields is often half of it."""
    manifest.get("metadata", {}).pop("managedFields", None)
    return manifest


def _watch_error(status: int, what: str, body: str) -> Retryable:
    """Return the error of a refused or broken watch; a watch is tried for ever, whatever was said."""
    said = f"{what}: the API server answered {status}: {message_of(body)}"
    return _Expired(said) if status == 410 else Retryable(said)

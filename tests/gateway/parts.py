"""Stand-ins for the gateway's neighbours: a cluster to watch, an engine to answer, manifests to feed them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from typing import Any

from aiohttp import web

from tertium.api.meta import Manifest, ObjectKey
from tertium.core import names
from tertium.core.errors import TertiumError
from tertium.kube.cluster import API_KEY, LLM_DEPLOYMENT, POD, Kind, WatchEvent

_uids = itertools.count(1)


def a_deployment(
    name: str,
    *,
    namespace: str = "team",
    created: str = "2025-01-01T00:00:00Z",
    served_name: str | None = None,
    conditions: tuple[Mapping[str, Any], ...] = (),
    starts: tuple[int, ...] = (),
    **spec: Any,
) -> dict[str, Any]:
    """A deployment as the API server shows it, at generation 1; `starts`: seconds its last ones took."""
    model = {"source": "pvc://models/x", **({"servedName": served_name} if served_name else {})}
    status: dict[str, Any] = {"conditions": [{"observedGeneration": 1, **item} for item in conditions]}
    if starts:
        recent = [
            {"pod": f"p{n}", "readyAt": created, "totalMillis": 1000 * lasted}
            for n, lasted in enumerate(starts)
        ]
        status["coldStart"] = {"recent": recent}
    return {
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": created, "generation": 1},
        "spec": {"model": model, **spec},
        "status": status,
    }


def a_condition(
    kind: str, status: str, reason: str, message: str = "", *, generation: int = 1
) -> dict[str, Any]:
    """A condition about one generation."""
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": generation,
    }


def a_pod(
    key: ObjectKey,
    *,
    name: str = "",
    ip: str = "",
    ready: bool = False,
    ready_since: str = "t0",
    restarts: int = 0,
    leaving: bool = False,
    phase: str = "Running",
) -> dict[str, Any]:
    """An engine pod of a deployment; the same name is the same pod."""
    name = name or f"{key.name}-{next(_uids)}"
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": key.namespace,
        "uid": f"uid-{name}",
        "labels": names.labels(key, "engine"),
    }
    if leaving:
        metadata["deletionTimestamp"] = "2025-01-01T00:00:00Z"
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": ready_since}
    status: dict[str, Any] = {
        "phase": phase,
        "conditions": [condition],
        "containerStatuses": [{"name": "engine", "restartCount": restarts}],
    }
    if ip:
        status["podIP"] = ip
    return {"metadata": metadata, "status": status}


class WatchedCluster:
    """The part of the cluster protocol that the gateway uses: watches, and Lease renewals that are noted."""

    def __init__(self) -> None:
        kinds = (LLM_DEPLOYMENT.kind, POD.kind, API_KEY.kind)
        self._objects: dict[str, dict[ObjectKey, Manifest]] = {kind: {} for kind in kinds}
        self._queues: dict[str, list[asyncio.Queue[WatchEvent]]] = {kind: [] for kind in kinds}
        self.answers = asyncio.Event()
        """While it is cleared, a new watch gets nothing: the API server is down."""
        self.answers.set()
        self.renewals: list[ObjectKey] = []
        self.claims: dict[ObjectKey, dict[str, str]] = {}
        self.fault: TertiumError | None = None

    def put(self, kind: Kind, manifest: Manifest) -> None:
        """Create or change an object."""
        self._objects[kind.kind][ObjectKey.of(manifest)] = manifest
        for queue in self._queues[kind.kind]:
            queue.put_nowait(WatchEvent("MODIFIED", manifest))

    def remove(self, kind: Kind, key: ObjectKey) -> None:
        """Delete an object."""
        gone = self._objects[kind.kind].pop(key)
        for queue in self._queues[kind.kind]:
            queue.put_nowait(WatchEvent("DELETED", gone))

    async def watch(self, kind: Kind, *, labels: str = "") -> AsyncIterator[WatchEvent]:
        """List, then follow."""
        await self.answers.wait()
        queue: asyncio.Queue[WatchEvent] = asyncio.Queue()
        self._queues[kind.kind].append(queue)
        for manifest in list(self._objects[kind.kind].values()):
            yield WatchEvent("LISTED", manifest)
        yield WatchEvent("SYNCED", None)
        while True:
            yield await queue.get()

    async def renew_lease(self, key: ObjectKey, claims: Mapping[str, str | None]) -> Manifest:
        """Note the renewal, or fail as told."""
        if self.fault is not None:
            raise self.fault
        if any(claims.values()):
            self.renewals.append(key)
        merged = {**self.claims.get(key, {}), **claims}
        self.claims[key] = {name: text for name, text in merged.items() if text is not None}
        return {"metadata": {"name": key.name, "annotations": self.claims[key]}}


class Engine:
    """An engine that is healthy when told so; streams wait for `go_on` after their first chunk."""

    def __init__(self, ip: str, port: int) -> None:
        self.ip = ip
        self._port = port
        self.healthy = False
        self.requests: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.cut = 0
        """How many streams ended because their caller left."""
        self.break_off = False
        self.fails_with: tuple[int, dict[str, Any]] | None = None
        self.go_on = asyncio.Event()
        self.says: tuple[str, tuple[bytes, ...]] | None = None
        """Content type and pieces of every answer, where a test is about them."""
        app = web.Application(client_max_size=2**26)
        app.router.add_get("/health", self._health)
        app.router.add_post("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.5, handler_cancellation=True)

    async def start(self) -> None:
        """Listen."""
        await self._runner.setup()
        await web.TCPSite(self._runner, self.ip, self._port, backlog=1024).start()

    async def stop(self) -> None:
        """Stop listening; connections end."""
        self.go_on.set()
        await self._runner.cleanup()

    async def abort(self) -> None:
        """Break every connection, as a process that is killed does."""
        assert self._runner.server is not None
        for connection in self._runner.server.connections:
            if connection.transport is not None:
                connection.transport.abort()

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(status=200 if self.healthy else 503)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(dict(request.headers))
        if self.says is not None:
            return await self._say(request, *self.says)
        form = request.content_type == "multipart/form-data"
        if not form:
            self.bodies.append(await request.read())
        if self.fails_with is not None:
            return web.json_response(self.fails_with[1], status=self.fails_with[0])
        body = dict(await request.post()) if form else await request.json()
        if not body.get("stream"):
            return web.json_response({"by": self.ip, "model": body["model"], "path": request.path})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"n": 1}\n\n')
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cut += 1
            raise
        if self.break_off and request.transport is not None:
            request.transport.abort()
        await response.write(b'data: {"n": 2}\n\ndata: [DONE]\n\n')
        return response

    async def _say(self, request: web.Request, kind: str, pieces: tuple[bytes, ...]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": kind})
        if len(pieces) == 1:
            response.content_length = len(pieces[0])
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
            await asyncio.sleep(0.01)  # so that each arrives by itself
        return response

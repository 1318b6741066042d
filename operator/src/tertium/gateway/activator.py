"""The HTTP face of the activator: for Envoy on loopback, and for the operator and the kubelet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from tertium.api.meta import ObjectKey
from tertium.core.errors import Retryable
from tertium.gateway import answers
from tertium.gateway.answers import Answer, Asked
from tertium.gateway.counters import Counters
from tertium.gateway.envoy_admin import EnvoyAdmin
from tertium.gateway.exposition import exposition
from tertium.gateway.holds import Ask, Holds
from tertium.gateway.keys import KeyBook
from tertium.gateway.load import LoadBook
from tertium.gateway.publish import Publisher
from tertium.gateway.streams import Streams, response_of
from tertium.gateway.tally import Tally
from tertium.gateway.wishes import wish_of
from tertium.gateway.world import World
from tertium.render.envoy.filter import MODEL_UNKNOWN
from tertium.render.envoy.layout import (
    ATTEMPT_HEADER,
    DEPLOYMENT_HEADER,
    KEY_HEADER,
    LOOKUPS_HEADER,
    MODEL_HEADER,
    MOST_LOOKUPS,
    PROBLEM_HEADER,
)

_MODELS: Final = "/v1/models"
_ROUTE_SECONDS: Final = 2.0
"""Longest wait until Envoy has the route of a new deployment."""
_PAUSE_SECONDS: Final = 0.1


Permits: TypeAlias = Callable[[ObjectKey], bool]


def activator_app(
    world: World, holds: Holds, streams: Streams, publisher: Publisher, keys: KeyBook | None = None
) -> web.Application:
    """Return the application Envoy sends requests to that no replica can take; `keys`: callers need one."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if not world.synced:
            return response_of(answers.not_synced())
        deployment = request.headers.get(DEPLOYMENT_HEADER)
        if deployment is None:
            if (redirect := await _looked_up_again(request, world, publisher)) is not None:
                return redirect
            return response_of(_own_answer(request, world, holds, _permits(request, keys)))
        with streams.body_of(request) as body:
            # Unread, a large body would keep the server from seeing that the caller is gone.
            await body.read()
            wish = wish_of(request.headers)
            if isinstance(wish, Answer):
                return response_of(wish)
            namespace, _, name = deployment.partition("/")
            ask = Ask(
                key=ObjectKey(namespace, name),
                attempt=int(request.headers.get(ATTEMPT_HEADER, "1")),
                wish=wish,
                size=body.size,
            )
            if body.kept is not None:
                return await streams.answer(request, ask, body)
            return response_of(await holds.hold(ask))

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    return app


def report_app(
    world: World,
    holds: Holds,
    streams: Streams,
    *,
    admin: EnvoyAdmin,
    tally: Tally,
    publisher: Publisher,
    registry: CollectorRegistry,
) -> web.Application:
    """Return the application for the operator (`/load`), the kubelet (`/livez`, `/readyz`) and Prometheus."""
    book = LoadBook(datetime.now(UTC))

    async def counters() -> Counters:
        # In this order: a request that has ended has its tokens in the sums.
        requests = await admin.requests()
        return Counters(requests=requests, tokens=await tally.read())

    async def load(request: web.Request) -> web.Response:
        if not world.synced:
            return web.Response(status=503, text="the deployments are not known yet\n")
        try:
            # In this order: a process that came in between is never counted twice.
            epoch = await admin.epoch()
            seen = streams.counted_once(await counters())
        except Retryable as fault:
            return web.Response(status=503, text=f"{fault}\n")
        uids = {key: model.uid for key, model in world.table.models.items()}
        report = book.report(uids, seen, holds.waiters.count, datetime.now(UTC), epoch=epoch)
        return web.Response(
            text=report.model_dump_json(by_alias=True, exclude_defaults=True), content_type="application/json"
        )

    async def metrics(request: web.Request) -> web.Response:
        try:
            seen = await counters()
        except Retryable as fault:
            return web.Response(status=503, text=f"{fault}\n")
        own = generate_latest(registry)
        return web.Response(body=own + exposition(seen), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def live(request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(request: web.Request) -> web.Response:
        if not world.synced:
            return web.Response(status=503, text="the deployments are not known yet\n")
        if not publisher.configured:
            return web.Response(status=503, text="Envoy has not taken its configuration yet\n")
        return web.Response(text="ok\n")

    app = web.Application()
    handlers = {"/load": load, "/livez": live, "/readyz": ready, "/metrics": metrics}
    app.add_routes([web.get(path, handler) for path, handler in handlers.items()])
    return app


async def _looked_up_again(request: web.Request, world: World, publisher: Publisher) -> web.Response | None:
    """Redirect a request whose route Envoy chose before it had one for this model, if it has one by now.

    Envoy, which has kept the body, follows the redirect itself and looks the request up again; the caller
    sees nothing of it. Its threads get a route a moment after it is confirmed, hence a pause and another try.
    """
    name = request.headers.get(MODEL_HEADER, "")
    lookups = int(request.headers.get(LOOKUPS_HEADER, "0"))
    if request.headers.get(PROBLEM_HEADER) != MODEL_UNKNOWN or lookups >= MOST_LOOKUPS:
        return None
    if world.table.find(name) is None:
        return None
    await _discard(request)
    if not await publisher.has_route(name, limit_seconds=_ROUTE_SECONDS):
        return None
    await asyncio.sleep(lookups * _PAUSE_SECONDS)
    headers = {"Location": str(request.url), LOOKUPS_HEADER: str(lookups + 1)}
    return web.Response(status=307, headers=headers)


async def _discard(request: web.Request) -> None:
    async for _ in request.content.iter_any():
        continue


def _permits(request: web.Request, keys: KeyBook | None) -> Permits:
    """What the caller may know of. His key was verified by Envoy, which alone can set the header."""
    if keys is None:
        return lambda deployment: True
    key = keys.find(request.headers.get(KEY_HEADER, ""))
    return (lambda deployment: False) if key is None else key.permits


def _own_answer(request: web.Request, world: World, holds: Holds, permits: Permits) -> Answer:
    path = unquote(request.rel_url.raw_path)
    if path == _MODELS or path.startswith(f"{_MODELS}/"):
        return _models(request.method, path.removeprefix(_MODELS).strip("/"), world, holds, permits)
    headers = request.headers
    asked = Asked(
        problem=headers.get(PROBLEM_HEADER, ""),
        method=request.method,
        path=path,
        model=headers.get(MODEL_HEADER, ""),
        content_type=headers.get("Content-Type", ""),
        content_encoding=headers.get("Content-Encoding", ""),
    )
    return answers.explain(asked, world.table)


def _models(method: str, name: str, world: World, holds: Holds, permits: Permits) -> Answer:
    if method not in ("GET", "HEAD"):
        message = f"{method} is not allowed at '{_MODELS}'; models are read with GET."
        return answers.error(405, "method_not_allowed", message, headers={"Allow": "GET, HEAD"})
    if name:
        model = world.table.find(name)
        if model is None or not permits(model.key):
            return answers.not_found(name)
        return Answer(status=200, body=_entry(name, model.key, world, holds))
    keys = sorted(key for key in world.table.models if permits(key))
    return answers.model_list(_entry(world.table.names_of(key)[0], key, world, holds) for key in keys)


def _entry(name: str, key: ObjectKey, world: World, holds: Holds) -> Mapping[str, Any]:
    state = world.state(key, awaited=holds.waiters.count(key) > 0)
    return answers.model_entry(name, world.table.models[key], state, holds.eta(key))

"""How long a watch has been silent, seen from the bytes of answers that somebody else reads."""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import Configuration
from kubernetes.aio.client.rest import RESTClientObject

from tertium.kube.connection import Connection
from tertium.kube.watch_age import WatchAges


class Seconds:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


async def test_any_byte_makes_a_watch_young_and_a_list_does_not() -> None:
    lines: asyncio.Queue[bytes] = asyncio.Queue()
    tokens: list[str | None] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        tokens.append(request.headers.get("Authorization"))
        if "watch" not in request.query:
            return web.json_response({"items": []})
        response = web.StreamResponse()
        await response.prepare(request)
        while line := await lines.get():
            await response.write(line)
        return response

    application = web.Application()
    application.router.add_get("/api/v1/pods", answer)
    seconds = Seconds()
    async with TestServer(application) as server:
        configuration = Configuration(host=str(server.make_url("")).rstrip("/"))
        configuration.api_key["BearerToken"] = "Bearer secret"
        rest = RESTClientObject(configuration)
        ages = WatchAges(("pods", "nodes"), seconds)
        async with ages.session(Connection(configuration, rest)) as http:
            seconds.time += 10
            async with http.get(server.make_url("/api/v1/pods")) as listed:
                assert await listed.json() == {"items": []}
            assert ages.ages() == {"pods": 10, "nodes": 10}

            async with http.get(server.make_url("/api/v1/pods?watch=true")) as watched:
                assert ages.ages() == {"pods": 0, "nodes": 10}
                seconds.time += 60
                assert ages.ages()["pods"] == 60
                lines.put_nowait(b'{"type": "BOOKMARK"}\n')
                assert await watched.content.readline() == b'{"type": "BOOKMARK"}\n'
                assert ages.ages() == {"pods": 0, "nodes": 70}
                lines.put_nowait(b"")
        await rest.close()
    assert tokens == ["Bearer secret", "Bearer secret"]


async def test_a_refused_watch_stays_old() -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=403, text="not yet")

    application = web.Application()
    application.router.add_get("/api/v1/pods", refuse)
    seconds = Seconds()
    async with TestServer(application) as server:
        rest = RESTClientObject(Configuration(host=""))
        ages = WatchAges(("pods",), seconds)
        async with ages.session(Connection(Configuration(), rest)) as http:
            seconds.time += 5
            async with http.get(server.make_url("/api/v1/pods?watch=true")) as refused:
                assert refused.status == 403
            assert ages.ages() == {"pods": 5}
        await rest.close()

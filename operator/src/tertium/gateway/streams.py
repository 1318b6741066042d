"""Held streams: where the wait is long, they are opened at once and kept alive, so that no one hangs up.

Whatever is in between closes a connection on which nothing comes for a minute. The price: the status is 200
before it is known how it ends, so errors are told within the stream, and its bytes pass through here.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import Final

from aiohttp import web

from tertium.api.meta import ObjectKey
from tertium.gateway.answers import Answer
from tertium.gateway.bodies import Body, Room
from tertium.gateway.counters import Counters
from tertium.gateway.holds import Ask, Holds
from tertium.gateway.in_band import STREAMED, empty_event, error_event, sign_of_life
from tertium.gateway.metrics import GatewayMetrics
from tertium.gateway.resume import Resume
from tertium.gateway.wishes import hold_seconds
from tertium.gateway.world import World
from tertium.render.envoy.layout import RELEASED, RESUMED_HEADER, STREAM_HEADER

SILENT_SECONDS: Final = 50.0
"""Longest silence on a held stream, expected or real. Proxies give up after 60 s, often."""
EVENT_SECONDS: Final = 100.0
"""Longest time without an event, where the API has one that says nothing."""
_FIRST_SECONDS: Final = 1.0
"""In this time most of what is wrong with a request is known, and is told with a status of its own."""
_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}


class Streams:
    """Holds the requests that ask for a stream."""

    def __init__(
        self, holds: Holds, world: World, resume: Resume, metrics: GatewayMetrics, *, most_bytes: int
    ) -> None:
        self._holds = holds
        self._world = world
        self._resume = resume
        self._metrics = metrics
        self._room = Room(most_bytes)
        self._resumed: Counter[ObjectKey] = Counter()

    @contextmanager
    def body_of(self, request: web.Request) -> Iterator[Body]:
        """The body of a request that is held; what is kept of it is let go at the end."""
        streamed = request.headers.get(STREAM_HEADER) == "true" and request.path in STREAMED
        # A stream that is sent on is held once more at the most, and silently: it is open already.
        resumed = RESUMED_HEADER in request.headers
        body = Body(request.content, self._room if streamed and not resumed else None)
        try:
            yield body
        finally:
            body.drop()

    async def answer(self, request: web.Request, ask: Ask, body: Body) -> web.StreamResponse:
        """Hold a request for a stream: with a status of its own, or opened early where the wait is long.

        | the wait is expected to last | it has lasted  | result                   |
        | more than 50 s               | a second       | opened, kept alive       |
        | 50 s and less, or unknown    | 50 s           | opened, kept alive       |
        | any                          | less           | the answer, whatever it is |
        """
        begun = asyncio.get_running_loop().time()
        hold = asyncio.create_task(self._holds.hold(ask), name=f"hold {ask.key}")
        try:
            await asyncio.wait({hold}, timeout=self._silence(ask.key))
            if hold.done():
                return response_of(hold.result())
            self._metrics.opened()
            response = web.StreamResponse(headers=_HEADERS)
            await response.prepare(request)
            async with aclosing(self._parts(request, ask, body, hold, begun)) as parts:
                async for part in parts:
                    await response.write(part)
            await response.write_eof()
            return response
        finally:
            hold.cancel()

    def counted_once(self, counters: Counters) -> Counters:
        """Return Envoy's counters without the second requests of streams that are being sent on."""
        seen = counters.requests
        twice = {str(key): count for key, count in self._resumed.items() if str(key) in seen}
        once = {
            name: replace(seen[name], active=max(0, seen[name].active - count))
            for name, count in twice.items()
        }
        return replace(counters, requests={**seen, **once})

    def _silence(self, key: ObjectKey) -> float:
        eta = self._holds.eta(key)
        return _FIRST_SECONDS if eta is not None and eta > SILENT_SECONDS else SILENT_SECONDS

    async def _parts(
        self, request: web.Request, ask: Ask, body: Body, hold: asyncio.Task[Answer], begun: float
    ) -> AsyncGenerator[bytes, None]:
        """Yield signs of life until the hold ends, and then the model's answer or an error."""
        loop = asyncio.get_running_loop()
        told = loop.time()
        while not hold.done():
            yield self._sign(ask.key, round(loop.time() - begun))
            model = self._world.table.models.get(ask.key)
            pause = model.heartbeat_seconds if model else 0
            if loop.time() + pause - told > EVENT_SECONDS:
                told = loop.time()
                if event := empty_event(request.path, str(ask.key), int(time.time())):
                    yield event
            await asyncio.wait({hold}, timeout=pause or None)
        answer = hold.result()
        if answer.status != RELEASED:
            yield error_event(request.path, answer.status, answer.body["error"])
            return
        model = self._world.table.models.get(ask.key)
        left = max(0, hold_seconds(model, ask.wish) - round(loop.time() - begun)) if model else 0
        events = self._resume.events(request.raw_path, request.headers, body, hold_seconds=left)
        self._resumed[ask.key] += 1
        try:
            async with aclosing(events):
                async for chunk in events:
                    yield chunk
        finally:
            self._resumed[ask.key] -= 1
            self._resumed += Counter()

    def _sign(self, key: ObjectKey, waited: int) -> bytes:
        model = self._world.table.models.get(key)
        phase = self._world.state(key, awaited=True) if model else "gone"
        detail = model.progress if model else ""
        return sign_of_life(str(key), phase, self._holds.eta(key), waited, detail)


def response_of(answer: Answer) -> web.Response:
    """Return an answer as aiohttp sends it."""
    return web.json_response(answer.body, status=answer.status, headers=answer.headers)

"""`/livez`, `/readyz` and `/metrics` of the operator."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from tertium.api.conditions import Reason
from tertium.core.errors import Terminal

STUCK_SECONDS: Final = 60.0
"""Longer than any call to the API server may take, retries of one pass included."""
ENDLESS_SECONDS: Final = 600.0
"""Longer than any one reconcile may take: each of its calls ends by itself."""
DEAD_WATCH_SECONDS: Final = 180.0
"""A silent watch is made anew after 70 s; one that stays silent for longer cannot be helped from inside."""
ANSWERING_SECONDS: Final = 30.0
"""An API server that was silent for longer is down; a restart of the operator would help nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """What tells whether the operator is well; each is asked anew for every probe."""

    stuck_for: Callable[[], float]
    """For how many seconds there has been work and none was finished."""
    longest: Callable[[], float]
    """For how many seconds the reconcile that lasts longest has lasted."""
    watch_ages: Callable[[], Mapping[str, float]]
    """Seconds since each watch brought anything."""
    api_silence: Callable[[], float]
    """Seconds since the API server answered anything."""
    ready: Callable[[], bool]

    def complaint(self) -> str:
        """Return why only a restart can help, or nothing.

        | reconciles             | a watch is silent | the API server | result          |
        | none finished for 60 s | any               | any            | stuck           |
        | one lasts for 600 s    | any               | any            | stuck: that one |
        | finish, or none to do  | for 180 s         | answers        | the watch       |
        | finish, or none to do  | for 180 s         | is silent      | nothing: it waits |
        | finish, or none to do  | no                | any            | nothing         |
        """
        stuck = self.stuck_for()
        if stuck > STUCK_SECONDS:
            return f"no reconcile has finished for {stuck:.0f} s"
        longest = self.longest()
        if longest > ENDLESS_SECONDS:
            return f"a reconcile has not ended for {longest:.0f} s"
        ages = self.watch_ages()
        oldest = max(ages, key=lambda plural: ages[plural])
        if ages[oldest] > DEAD_WATCH_SECONDS and self.api_silence() < ANSWERING_SECONDS:
            return f"the watch of {oldest} has brought nothing for {ages[oldest]:.0f} s"
        return ""


@asynccontextmanager
async def serve_health(signs: Signs, registry: CollectorRegistry, *, port: int) -> AsyncIterator[None]:
    """Serve them while the context lasts. Raises `Terminal` when the port cannot be had."""

    async def livez(_: web.Request) -> web.Response:
        complaint = signs.complaint()
        return web.Response(status=503 if complaint else 200, text=f"{complaint or 'ok'}\n")

    async def readyz(_: web.Request) -> web.Response:
        if not signs.ready():
            return web.Response(status=503, text="the first lists are being read\n")
        return web.Response(text="ok\n")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    routes = {"/livez": livez, "/readyz": readyz, "/metrics": metrics}
    application.add_routes([web.get(path, handler) for path, handler in routes.items()])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, "0.0.0.0", port).start()
        except OSError as error:
            message = f"environment variable TERTIUM_HEALTH_PORT: {error.strerror}; give another"
            raise Terminal(Reason.INVALID, message) from error
        yield
    finally:
        await runner.cleanup()

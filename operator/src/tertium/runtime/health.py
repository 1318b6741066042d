"""`/livez` and `/readyz` of the operator."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from tertium.api.meta import ObjectKey
from tertium.runtime.queue import WorkQueue

STUCK_SECONDS: Final = 60.0
"""Longer than any call to the API server may take, retries of one pass included."""


@asynccontextmanager
async def serve_health(
    queue: WorkQueue[ObjectKey], *, port: int, ready: Callable[[], bool]
) -> AsyncIterator[None]:
    """Serve both while the context lasts. Raises OSError when the port is taken."""

    async def livez(_: web.Request) -> web.Response:
        stuck = queue.stuck_for()
        if stuck > STUCK_SECONDS:
            return web.Response(status=503, text=f"no reconcile has finished for {stuck:.0f} s\n")
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        if not ready():
            return web.Response(status=503, text="the first lists are being read\n")
        return web.Response(text="ok\n")

    application = web.Application()
    application.add_routes([web.get("/livez", livez), web.get("/readyz", readyz)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "0.0.0.0", port).start()
        yield
    finally:
        await runner.cleanup()

"""Stopping a gateway pod without cutting a request: one half in Envoy's container, one in the activator's."""

from __future__ import annotations

import asyncio
from typing import Final

from tertium.core.errors import Retryable
from tertium.gateway.envoy_admin import EnvoyAdmin

_LOOK_SECONDS: Final = 0.25
FORGOTTEN_SECONDS: Final = 5.0
_NOTICE_SECONDS: Final = 10.0
_REPORT_SECONDS: Final = 2.5
"""How long the counters stay after the last answer: the operator reads them every second."""


async def drain_envoy(
    admin: EnvoyAdmin, *, limit_seconds: float, forgotten_seconds: float = FORGOTTEN_SECONDS
) -> int:
    """Make Envoy leave its Service and wait until no request runs; return how many still do at the limit.

    `forgotten_seconds`: how long a Service that has not heard of the stop may still send callers here.

    Raises `Retryable` when Envoy does not answer.
    """
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await admin.drain()
    await asyncio.sleep(min(forgotten_seconds, limit_seconds))
    while True:
        running = await admin.running()
        left = begun + limit_seconds - loop.time()
        if running == 0:
            await asyncio.sleep(max(0.0, min(_REPORT_SECONDS, left)))
        if running == 0 or left <= 0:
            return running
        await asyncio.sleep(_LOOK_SECONDS)


async def outlast_envoy(admin: EnvoyAdmin, *, limit_seconds: float) -> None:
    """Wait until Envoy has ended: until then it may need the activator for requests that are held.

    An Envoy that is not draining ten seconds after the activator was told to stop is not stopping at all:
    only this container is being restarted, which must not take long.
    """
    loop = asyncio.get_running_loop()
    begun = loop.time()
    while loop.time() - begun < limit_seconds:
        try:
            draining = await admin.draining()
        except Retryable:
            return
        if not draining and loop.time() - begun > _NOTICE_SECONDS:
            return
        await asyncio.sleep(_LOOK_SECONDS)

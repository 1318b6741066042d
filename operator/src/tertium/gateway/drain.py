"""Stopping a gateway pod without cutting a request: one half in Envoy's container, one in the activator's."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from tertium.core.errors import Retryable
from tertium.gateway.envoy_admin import EnvoyAdmin, EnvoyEnded

_LOOK_SECONDS: Final = 0.25
FORGOTTEN_SECONDS: Final = 5.0
_NOTICE_SECONDS: Final = 30.0
"""How long Envoy's container may take to tell Envoy of the stop: its hook is a program that has to start."""
_REPORT_SECONDS: Final = 2.5
"""How long the counters stay after the last answer: the operator reads them every second."""

_log = logging.getLogger(__name__)


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

    An Envoy that is not draining half a minute after the activator was told to stop is not stopping at all:
    only this container is being restarted, which must not take long. One that is too busy to answer has not
    ended.
    """
    loop = asyncio.get_running_loop()
    begun = loop.time()
    while loop.time() - begun < limit_seconds:
        try:
            if not await admin.draining() and loop.time() - begun > _NOTICE_SECONDS:
                return
        except EnvoyEnded:
            return
        except Retryable:
            _log.warning("Envoy does not say whether it drains")
        await asyncio.sleep(_LOOK_SECONDS)

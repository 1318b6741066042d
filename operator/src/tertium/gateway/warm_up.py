"""One token for nobody: what an engine makes at its first request is made before a caller waits for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import aiohttp
from yarl import URL

from tertium.api.meta import ObjectKey
from tertium.gateway.replicas import Engine, Replica

LIMIT_SECONDS: Final = 60.0
_log = logging.getLogger(__name__)


class WarmUp:
    """Asks new replicas for one token, each once."""

    def __init__(
        self, session: aiohttp.ClientSession, port: int, *, limit_seconds: float = LIMIT_SECONDS
    ) -> None:
        self._session = session
        self._port = port
        self._limit = aiohttp.ClientTimeout(total=limit_seconds)
        self._running: dict[Engine, asyncio.Task[None]] = {}

    def begin(self, key: ObjectKey, replica: Replica, warm: Callable[[ObjectKey, Replica], None]) -> None:
        """Ask, unless that is under way; call `warm` when it has answered, cannot, or took a minute.

        A replica that cannot answer one token is published all the same: its callers are told why.
        """
        if replica.engine not in self._running:
            task = asyncio.create_task(self._ask(key, replica, warm), name=f"warm up {replica.name}")
            self._running[replica.engine] = task

    async def close(self) -> None:
        """Stop all that is under way."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(
        self, key: ObjectKey, replica: Replica, warm: Callable[[ObjectKey, Replica], None]
    ) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        why = await self._fault(key, replica)
        del self._running[replica.engine]
        fields = {"deployment": str(key), "pod": replica.name, "seconds": round(loop.time() - begun, 3)}
        if why:
            _log.warning("replica not warmed up", extra={**fields, "why": why})
        else:
            _log.info("replica warmed up", extra=fields)
        warm(key, replica)

    async def _fault(self, key: ObjectKey, replica: Replica) -> str:
        """Ask for one token; return what went wrong, or nothing."""
        url = URL.build(scheme="http", host=replica.ip, port=self._port, path="/v1/completions")
        body = {"model": str(key), "prompt": "Hello", "max_tokens": 1}
        try:
            async with self._session.post(url, json=body, timeout=self._limit) as answer:
                text = await answer.text()
                return "" if answer.status == 200 else f"{answer.status}: {text[:200]}"
        except TimeoutError:
            return f"no answer within {self._limit.total:g} s"
        except (aiohttp.ClientError, OSError, ValueError) as fault:
            return repr(fault)

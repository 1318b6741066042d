"""Envoy's admin interface: its counters, how many requests run, how to drain it."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Mapping
from typing import Any, Final

import aiohttp

from tertium.core.errors import Retryable
from tertium.gateway.counters import PATTERN, Requests, read_requests
from tertium.render.envoy.layout import STAT_PREFIX

_DOWNSTREAM: Final = f"http.{STAT_PREFIX}.downstream_rq_active"
_LIMIT: Final = aiohttp.ClientTimeout(total=2.0)
_EPOCH: Final = "tertium.epoch"


class EnvoyEnded(Retryable):
    """Nobody listens at the port of Envoy's admin interface: the process has ended, or has yet to start."""


class EnvoyAdmin:
    """The admin interface of the Envoy in this pod. Methods raise `Retryable` when it does not answer."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self._session = session
        self._root = f"http://127.0.0.1:{port}"
        self._naming = asyncio.Lock()

    async def stats(self, pattern: str) -> dict[str, Any]:
        """Return the stats whose name matches the regular expression."""
        answer = await self._call("GET", "/stats", {"format": "json", "filter": pattern})
        return {item["name"]: item["value"] for item in answer["stats"] if "value" in item}

    async def requests(self) -> Mapping[str, Requests]:
        """Return what Envoy has counted of requests, by cluster."""
        return read_requests(await self.stats(PATTERN))

    async def epoch(self) -> str:
        """Return the name of this life of Envoy's counters. A process that has none yet gets a random one."""
        async with self._naming:
            entries = (await self._call("GET", "/runtime", {}))["entries"]
            if name := entries.get(_EPOCH, {}).get("final_value"):
                return str(name)
            name = uuid.uuid4().hex[:16]
            await self._call("POST", "/runtime_modify", {_EPOCH: name})
            return name

    async def running(self) -> int:
        """How many requests of callers are under way."""
        return int((await self.stats(f"^{re.escape(_DOWNSTREAM)}$")).get(_DOWNSTREAM, 0))

    async def draining(self) -> bool:
        """Whether Envoy has been told to drain. The stat of that name is up to five seconds old."""
        return bool((await self._call("GET", "/server_info", {}))["state"] == "DRAINING")

    async def drain(self) -> None:
        """Fail the health check, so that no new callers are sent here, and let connections end gracefully."""
        await self._call("POST", "/healthcheck/fail", {})
        await self._call("POST", "/drain_listeners", {"graceful": "", "skip_exit": ""})

    async def _call(self, method: str, path: str, query: Mapping[str, str]) -> Any:
        try:
            async with self._session.request(
                method, self._root + path, params=query, timeout=_LIMIT
            ) as answer:
                if answer.status != 200:
                    raise Retryable(f"Envoy's admin interface answered {answer.status} to {path}")
                return await answer.json(content_type=None) if method == "GET" else await answer.text()
        except aiohttp.ClientConnectorError as error:
            raise EnvoyEnded(f"Envoy's admin interface did not answer {path}: {error!r}") from error
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Retryable(f"Envoy's admin interface did not answer {path}: {error!r}") from error

"""Asking engines for their health while requests are held: much sooner than the kubelet would."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, NoReturn

import aiohttp
from yarl import URL

from tertium.gateway.replicas import Incarnation, Replica

PROBE_SECONDS: Final = 0.05
# A new pod's address may swallow packets for a moment; the kernel would try again only after a second.
_LIMITS: Final = aiohttp.ClientTimeout(total=1.0, sock_connect=0.25)


class Prober:
    """Asks `/health` of engine pods."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self._session = session
        self._port = port

    async def healthy(self, replica: Replica) -> bool:
        """Whether the engine answers 200 within a second."""
        url = URL.build(scheme="http", host=replica.ip, port=self._port, path="/health")
        try:
            async with self._session.get(url, timeout=_LIMITS) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    async def watch(
        self,
        candidates: Callable[[], Iterable[Replica]],
        proven: Callable[[Replica], None],
        wanted: asyncio.Event,
    ) -> NoReturn:
        """Probe the candidates every 50 ms, and at once when `wanted` is set; report each good answer.

        A probe that hangs delays no other: each candidate has at most one under way.
        """
        running: dict[Incarnation, asyncio.Task[None]] = {}

        async def ask(replica: Replica) -> None:
            if await self.healthy(replica):
                proven(replica)

        async with asyncio.TaskGroup() as group:
            while True:
                wanted.clear()
                for replica in candidates():
                    before = running.get(replica.incarnation)
                    if before is None or before.done():
                        running[replica.incarnation] = group.create_task(ask(replica))
                try:
                    async with asyncio.timeout(PROBE_SECONDS):
                        await wanted.wait()
                except TimeoutError:
                    continue

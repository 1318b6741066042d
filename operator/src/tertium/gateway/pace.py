"""How many held requests may go to the replicas now: as many as these can work on beside what they have.

Envoy counts what each replica works on; here those counters are read, for all models at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from tertium.api.meta import ObjectKey
from tertium.core.errors import Retryable
from tertium.gateway.counters import Requests
from tertium.gateway.envoy_admin import EnvoyAdmin

LOOK_SECONDS: Final = 0.1
PATIENCE_SECONDS: Final = 1.0
"""Who is first in line goes after so long in any case: requests that meet a model awake never stand in it."""
_TOO_MANY: Final = 1 << 30


class Pace:
    """Says how many may go."""

    def __init__(self, admin: EnvoyAdmin) -> None:
        self._admin = admin
        self._look: asyncio.Task[Mapping[str, Requests]] | None = None
        self._looked = float("-inf")
        self._went: dict[ObjectKey, float] = {}

    async def room(self, key: ObjectKey, capacity: int) -> int:
        """Return how many requests may go to a deployment's replicas, which work on `capacity` at once."""
        now = asyncio.get_running_loop().time()
        room = capacity - await self._active(key)
        since = now - self._went.setdefault(key, now)
        if room > 0 or since >= PATIENCE_SECONDS:
            self._went[key] = now
            return max(room, 1)
        return 0

    def forget(self, key: ObjectKey) -> None:
        """Nobody stands in line for this deployment any more."""
        self._went.pop(key, None)

    async def _active(self, key: ObjectKey) -> int:
        """Return how many requests the replicas work on; what Envoy does not say counts as too many."""
        loop = asyncio.get_running_loop()
        if self._look is None or loop.time() - self._looked >= LOOK_SECONDS / 2:
            self._looked = loop.time()
            self._look = asyncio.create_task(self._read())
        seen = await asyncio.shield(self._look)
        if str(key) not in seen:
            return _TOO_MANY
        return sum(calls.active for calls in seen[str(key)].by_address.values())

    async def _read(self) -> Mapping[str, Requests]:
        try:
            return await self._admin.requests()
        except Retryable:
            return {}

"""Stating demand: the renewal of a deployment's demand Lease while requests are held for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, NoReturn

from tertium.api.meta import ObjectKey
from tertium.core import names
from tertium.core.errors import Retryable, TertiumError
from tertium.kube.cluster import Cluster

RENEW_SECONDS: Final = 5.0
_FRESH_SECONDS: Final = 1.0
_CALL_SECONDS: Final = 3.0
_PAUSES: Final = (0.05, 0.1, 0.2, 0.5, 1.0)

_log = logging.getLogger(__name__)


class Demand:
    """Renews demand Leases, one renewal for any number of held requests."""

    def __init__(self, cluster: Cluster, holder: str) -> None:
        self._cluster = cluster
        self._holder = holder
        self._renewed: dict[ObjectKey, float] = {}

    async def state(self, key: ObjectKey, tell: Callable[[str], None]) -> NoReturn:
        """Renew at once, unless that was done within the last second, and then every five seconds.

        `tell` gets an empty text after each renewal, else why it failed; failures are tried again for ever.
        """
        loop = asyncio.get_running_loop()
        lease = ObjectKey(key.namespace, names.demand_lease(key))
        failures = 0
        since = loop.time() - self._renewed.get(key, float("-inf"))
        if since < _FRESH_SECONDS:
            tell("")
            await asyncio.sleep(RENEW_SECONDS - since)
        while True:
            fault = await self._renew(lease)
            tell("" if fault is None else str(fault))
            if fault is None:
                failures = 0
                self._renewed[key] = loop.time()
                await asyncio.sleep(RENEW_SECONDS)
                continue
            if failures == 0:
                _log.warning("demand not stated", extra={"deployment": str(key), "why": str(fault)})
            pause = _PAUSES[min(failures, len(_PAUSES) - 1)]
            failures += 1
            await asyncio.sleep(max(pause, getattr(fault, "after", None) or 0.0))

    async def state_once(self, key: ObjectKey) -> str:
        """Renew for a caller who does not wait, unless that was done a moment ago; return why it failed."""
        loop = asyncio.get_running_loop()
        if loop.time() - self._renewed.get(key, float("-inf")) < RENEW_SECONDS:
            return ""
        # Before the answer, so that a thousand callers at once are one renewal.
        self._renewed[key] = loop.time()
        fault = await self._renew(ObjectKey(key.namespace, names.demand_lease(key)))
        if fault is None:
            return ""
        self.forget(key)
        return str(fault)

    def forget(self, key: ObjectKey) -> None:
        """Drop what is remembered of a deployment that is gone."""
        self._renewed.pop(key, None)

    async def _renew(self, lease: ObjectKey) -> TertiumError | None:
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                await self._cluster.renew_lease(lease, self._holder, datetime.now(UTC))
        except TimeoutError:
            return Retryable(f"renew Lease {lease}: no answer within {_CALL_SECONDS:.0f} s")
        except TertiumError as fault:
            return fault
        return None

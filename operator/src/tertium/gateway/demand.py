"""Stating demand: this pod's claim on a deployment's demand Lease, while requests are held for it here."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, NoReturn

from tertium.api.meta import Manifest, ObjectKey
from tertium.core import names
from tertium.core.demand import CLAIM_SECONDS, claim_key, claim_text, old_claims
from tertium.core.errors import Retryable, TertiumError
from tertium.kube.cluster import Cluster

RENEW_SECONDS: Final = 5.0
LINGER_SECONDS: Final = 2.0
"""How long demand outlives the last held request: clients that hung up often ask again at once."""
_FRESH_SECONDS: Final = 1.0
_CALL_SECONDS: Final = 3.0
_PAUSES: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
_RELEASES: Final = 5
"""How often it is tried to take a claim back; then it runs out by itself."""

_log = logging.getLogger(__name__)


class Demand:
    """This pod's claims: one renewal for any number of held requests."""

    def __init__(self, cluster: Cluster, holder: str) -> None:
        self._cluster = cluster
        self._claim = claim_key(holder)
        self._renewed: dict[ObjectKey, float] = {}
        self._promised: dict[ObjectKey, float] = {}
        self._stated: set[ObjectKey] = set()
        self._old: dict[ObjectKey, dict[str, tuple[str, float]]] = {}
        """Claims of others that look old, and since when they were seen so."""
        # Two writes of one claim must not overtake each other.
        self._locks: defaultdict[ObjectKey, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def state(self, key: ObjectKey, tell: Callable[[str], None]) -> NoReturn:
        """Renew at once, unless that was done within the last second, and then every five seconds.

        `tell` gets an empty text after each renewal, else why it failed; failures are tried again for ever.
        """
        self._stated.add(key)
        try:
            await self._state(key, tell)
        finally:
            self._stated.discard(key)

    async def end(self, key: ObjectKey) -> None:
        """Take the claim back, after a moment, unless requests are held again by then.

        Callers who were told when to come back are still waiting: for them the claim stays until then.
        """
        await asyncio.sleep(LINGER_SECONDS)
        for pause in _PAUSES[:_RELEASES]:
            if key in self._stated or key not in self._renewed:
                return
            if await self._write(key, end=True) is None:
                return
            await asyncio.sleep(pause)

    def promise(self, key: ObjectKey, seconds: float) -> None:
        """A caller was told to come back within so many seconds, and counts as waiting until then."""
        until = asyncio.get_running_loop().time() + seconds
        self._promised[key] = max(until, self._promised.get(key, until))

    async def promise_now(self, key: ObjectKey, seconds: float) -> str:
        """The same for a caller who was not held, so that nobody has stated it yet; return why that failed.

        A thousand callers at once are one renewal.
        """
        self.promise(key, seconds)
        loop = asyncio.get_running_loop()
        if loop.time() - self._renewed.get(key, float("-inf")) < RENEW_SECONDS:
            return ""
        self._renewed[key] = loop.time()
        fault = await self._write(key)
        if fault is None:
            return ""
        self._renewed.pop(key, None)
        return str(fault)

    def forget(self, key: ObjectKey) -> None:
        """Drop what is remembered of a deployment that is gone."""
        for known in (self._renewed, self._promised, self._old, self._locks):
            known.pop(key, None)

    async def _state(self, key: ObjectKey, tell: Callable[[str], None]) -> NoReturn:
        loop = asyncio.get_running_loop()
        failures = 0
        since = loop.time() - self._renewed.get(key, float("-inf"))
        if since < _FRESH_SECONDS:
            tell("")
            await asyncio.sleep(RENEW_SECONDS - since)
        while True:
            fault = await self._write(key)
            tell("" if fault is None else str(fault))
            if fault is None:
                failures = 0
                await asyncio.sleep(RENEW_SECONDS)
                continue
            if failures == 0:
                _log.warning("demand not stated", extra={"deployment": str(key), "why": str(fault)})
            pause = _PAUSES[min(failures, len(_PAUSES) - 1)]
            failures += 1
            await asyncio.sleep(max(pause, getattr(fault, "after", None) or 0.0))

    async def _write(self, key: ObjectKey, *, end: bool = False) -> TertiumError | None:
        """Write the claim as it should be now; return why that failed."""
        lease = ObjectKey(key.namespace, names.demand_lease(key))
        loop = asyncio.get_running_loop()
        async with self._locks[key]:
            promised = self._promised.get(key, 0.0) - loop.time()
            if promised <= 0:
                self._promised.pop(key, None)
            now = datetime.now(UTC)
            claim = None if end and promised <= 0 else claim_text(now, round(max(promised, CLAIM_SECONDS)))
            claims = {**dict.fromkeys(self._left_behind(key)), self._claim: claim}
            try:
                async with asyncio.timeout(_CALL_SECONDS):
                    found = await self._cluster.renew_lease(lease, claims)
            except TimeoutError:
                return Retryable(f"renew Lease {lease}: no answer within {_CALL_SECONDS:.0f} s")
            except TertiumError as fault:
                return fault
            self._look(key, found, now)
            if end:
                self._renewed.pop(key, None)
            else:
                self._renewed[key] = loop.time()
        return None

    def _look(self, key: ObjectKey, lease: Manifest, now: datetime) -> None:
        """Note which claims of others look old. A pod whose clock is wrong by hours still renews its own."""
        before, time = self._old.get(key, {}), asyncio.get_running_loop().time()
        self._old[key] = {
            name: before[name] if before.get(name, ("", 0.0))[0] == text else (text, time)
            for name, text in old_claims(lease, now).items()
            if name != self._claim
        }

    def _left_behind(self, key: ObjectKey) -> list[str]:
        """Claims of pods that are gone: they look old, and nobody has changed them for three renewals."""
        latest = asyncio.get_running_loop().time() - 3 * RENEW_SECONDS
        return [name for name, (_, since) in self._old.get(key, {}).items() if since <= latest]

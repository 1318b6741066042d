"""Leader election by a Lease: of several operators one writes, and it has stopped before another begins.

| seconds since the leader's last renewal | leader                         | others              |
| less than `renew_seconds`               | writes                         | wait                |
| up to `lease_seconds`                   | writes nothing, may renew      | wait                |
| more                                    | as before, unless one has won  | the first one wins  |

The leader counts from before it asked for the renewal, the others from when they saw it, all by clocks that
go on while a process is stopped and that nobody sets: so a leader that was paused finds its right gone
before it can use it. What lies between the two times is for writes that were on their way. The client
library's own election measures with the time of day, has no fence for writes, and never gives a Lease back.

It must not know what the leader does.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from tertium.api.meta import Manifest, ObjectKey, format_time
from tertium.core.errors import Retryable, TertiumError
from tertium.kube.cluster import LEASE, Cluster, Kind
from tertium.kube.intercept import READS
from tertium.runtime.clock import Clock, boot_seconds

RESIGN_SECONDS: Final = 3.0
_NEVER: Final = float("-inf")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How long the right to write lasts; each longer than the next, in seconds."""

    lease_seconds: int = 15
    """After how long without a renewal another may take the Lease."""
    renew_seconds: int = 10
    """How long after its last renewal a leader writes."""
    retry_seconds: int = 2
    """How often a leader renews and the others look."""


class Leadership:
    """One candidate. `holder` must be another for every process that runs at the same time."""

    def __init__(
        self,
        cluster: Cluster,
        key: ObjectKey,
        holder: str,
        terms: Terms,
        clock: Clock,
        *,
        seconds: Callable[[], float] = boot_seconds,
        rng: random.Random | None = None,
    ) -> None:
        self._cluster = cluster
        self._key = key
        self._holder = holder
        self._terms = terms
        self._clock = clock
        self._seconds = seconds
        self._random = rng or random.Random()
        self._until = _NEVER
        self._answered = _NEVER
        self._lease: Manifest | None = None
        self._seen = ("", 0.0)
        self._complained = False

    @property
    def leading(self) -> bool:
        """Whether this process may write now."""
        return self.remaining() > 0

    def remaining(self) -> float:
        """Return for how many more seconds this process may write; not positive: it may not."""
        return self._until - self._seconds()

    def silence(self) -> float:
        """Return for how many seconds the API server has not answered a question about the Lease."""
        return self._seconds() - self._answered

    @asynccontextmanager
    async def gate(self, verb: str, kind: Kind) -> AsyncIterator[None]:
        """Let reads pass, and writes only while leading; a write still unanswered at the end is given up.

        Raises `Retryable`.
        """
        if verb in READS:
            yield
            return
        remaining = self.remaining()
        if remaining <= 0:
            raise Retryable(f"{verb} {kind.kind}: not sent, this operator is not the leader (any more)")
        try:
            async with asyncio.timeout(remaining):
                yield
        except TimeoutError as error:
            raise Retryable(f"{verb} {kind.kind}: given up, this operator's lease has ended") from error

    async def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Stand for election for ever and run `work` while leading. A Lease held at the end is given back.

        Raises what `work` raises.
        """
        try:
            while True:
                await self._win()
                await self._lead(work)
        finally:
            await self._resign()

    async def attempt(self) -> None:
        """Ask for the Lease once, or renew it. What cannot be had or asked leaves the right as it is."""
        try:
            async with asyncio.timeout(self._terms.renew_seconds / 2):
                # The second time for a Lease that was changed since it was last seen.
                if not await self._claim():
                    await self._claim()
        except (TertiumError, TimeoutError) as fault:
            self._lease = None
            if not self._complained:
                why = str(fault) or "no answer in time"
                _log.warning("the leader Lease cannot be read or written", extra={"why": why})
            self._complained = True
        else:
            self._complained = False

    async def _claim(self) -> bool:
        """Read the Lease unless the last version is ours, and take it if it may be; False: read it anew."""
        asked = self._seconds()
        lease = self._lease or await self._cluster.get(LEASE, self._key)
        self._answered = self._seconds()
        if lease is not None and not self._may_take(lease):
            self._until = _NEVER
            return True
        self._lease = await self._cluster.replace(LEASE, self._claimed(lease))
        self._answered = self._seconds()
        if self._lease is None:
            return False
        self._until = asked + self._terms.renew_seconds
        return True

    def _may_take(self, lease: Manifest) -> bool:
        """Whether the Lease is ours, nobody's, or unchanged for as long as its holder asked for."""
        spec = lease["spec"]
        if spec.get("holderIdentity", "") in ("", self._holder):
            return True
        version, now = lease["metadata"]["resourceVersion"], self._seconds()
        if version != self._seen[0]:
            self._seen = (version, now)
        promised: int = spec.get("leaseDurationSeconds", self._terms.lease_seconds)
        return now - self._seen[1] >= promised

    def _claimed(self, lease: Manifest | None) -> Manifest:
        """Return the Lease as it is to be; one that exists keeps its version, so that only one can win."""
        now = format_time(self._clock.now(), micro=True)
        before = lease["spec"] if lease else {}
        ours = before.get("holderIdentity") == self._holder
        metadata = {"name": self._key.name, "namespace": self._key.namespace}
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": lease["metadata"] if lease else metadata,
            "spec": {
                "holderIdentity": self._holder,
                "leaseDurationSeconds": self._terms.lease_seconds,
                "acquireTime": before["acquireTime"] if ours else now,
                "renewTime": now,
                "leaseTransitions": before.get("leaseTransitions", 0) + (0 if ours else 1),
            },
        }

    async def _win(self) -> None:
        await self.attempt()
        while not self.leading:
            # Candidates that started together need not ask together.
            await asyncio.sleep(self._terms.retry_seconds * self._random.uniform(0.5, 1.0))
            await self.attempt()
        _log.info("leading", extra={"holder": self._holder})

    async def _lead(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `work` and renew until the right is lost or `work` ends."""
        working = asyncio.create_task(work())
        try:
            while self.leading:
                await asyncio.wait({working}, timeout=self._terms.retry_seconds)
                if working.done():
                    return working.result()
                await self.attempt()
            _log.warning("no longer leading", extra={"holder": self._holder})
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    async def _resign(self) -> None:
        """Give the Lease back, so that the next leader need not wait for its end."""
        led, self._until = self.leading, _NEVER
        if not led:
            return
        try:
            async with asyncio.timeout(RESIGN_SECONDS):
                # A renewal that was cut off may have been written: then there is a newer version to be read.
                while not await self._released():
                    self._lease = None
        except (TertiumError, TimeoutError) as fault:
            _log.warning("the leader Lease was not given back", extra={"why": str(fault) or "no answer"})

    async def _released(self) -> bool:
        """Take our name from the Lease, if it is there; False: it was changed since it was read."""
        lease = self._lease or await self._cluster.get(LEASE, self._key)
        if lease is None or lease["spec"].get("holderIdentity") != self._holder:
            return True
        spec = {name: value for name, value in lease["spec"].items() if name != "holderIdentity"}
        return await self._cluster.replace(LEASE, {**lease, "spec": spec}) is not None

"""The requests that are held, by deployment and in the order they came, and the wake they take part in.

It counts them and their bodies against the bounds. No I/O.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from itertools import islice
from typing import Final, TypeAlias

from tertium.api.meta import ObjectKey, format_time
from tertium.core.refusal import Refusal


class Freed(Enum):
    """Why a held request need not wait any longer, other than by a refusal."""

    READY = "ready"
    GONE = "gone"
    STOPPING = "stopping"


Outcome: TypeAlias = Freed | Refusal


class Full(Enum):
    """Which bound leaves no room for one more held request."""

    MODEL = "model"
    REQUESTS = "requests"
    BYTES = "bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The most this gateway pod holds, whatever the models are."""

    requests: int = 4096
    body_bytes: int = 512 * 1024 * 1024
    """Envoy takes up to twice as much memory for them."""
    kept_bytes: int = 128 * 1024 * 1024
    """Bytes of bodies that the activator keeps besides, for streams that it may have to send on itself."""


DEFAULT_BOUNDS: Final = Bounds()


@dataclass(eq=False, slots=True, kw_only=True)
class Waiter:
    """One held request."""

    size: int
    """Bytes of its body, which Envoy keeps for as long."""
    outcome: asyncio.Future[Outcome]


@dataclass(slots=True, kw_only=True)
class Wake:
    """What happened when, from the first held request until none is held; the first time of each counts."""

    held_at: datetime
    begun: float
    """The same moment, by the loop's clock."""
    expected: float | None = None
    """After how many seconds a replica was expected to answer, from then; None: nobody knew."""
    times: dict[str, datetime] = field(default_factory=dict)
    waiters: int = 0
    outcome: str = "abandoned"
    fault: str = ""
    """Why demand could not be stated, while that is so."""

    def mark(self, phase: str, now: datetime) -> bool:
        """Note the time of a phase unless it is known; return whether it was not."""
        known = phase in self.times
        self.times.setdefault(phase, now)
        return not known

    def summary(self) -> dict[str, object]:
        """The record as log fields."""
        moments = {"heldAt": self.held_at, **self.times}
        return {
            "outcome": self.outcome,
            "waiters": self.waiters,
            **{name: format_time(moment, micro=True) for name, moment in moments.items()},
        }


class Waiters:
    """Who waits for which deployment, first come first."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._held: defaultdict[ObjectKey, dict[Waiter, None]] = defaultdict(dict)
        self.wakes: dict[ObjectKey, Wake] = {}
        self.total = 0
        self.body_bytes = 0

    def count(self, key: ObjectKey) -> int:
        """How many requests are held for a deployment."""
        return len(self._held.get(key, ()))

    def waiting(self, key: ObjectKey) -> int:
        """How many of them still wait: the others have just been let go."""
        return sum(not waiter.outcome.done() for waiter in self._held.get(key, ()))

    def join(self, key: ObjectKey, *, limit: int, size: int, now: datetime) -> Waiter | Full:
        """Hold one more request with a body of `size` bytes, at the end of the line, unless there is no room.

        `limit` is the most that are held for this deployment.
        """
        if self.count(key) >= limit:
            return Full.MODEL
        if self.total >= self._bounds.requests:
            return Full.REQUESTS
        if self.body_bytes + size > self._bounds.body_bytes:
            return Full.BYTES
        loop = asyncio.get_running_loop()
        waiter = Waiter(size=size, outcome=loop.create_future())
        self._held[key][waiter] = None
        self.total += 1
        self.body_bytes += size
        self.wakes.setdefault(key, Wake(held_at=now, begun=loop.time())).waiters += 1
        return waiter

    def leave(self, key: ObjectKey, waiter: Waiter) -> Wake | None:
        """Stop holding a request; return the finished record when it was the last one."""
        held = self._held[key]
        del held[waiter]
        self.total -= 1
        self.body_bytes -= waiter.size
        if held:
            return None
        del self._held[key]
        return self.wakes.pop(key)

    def settle(self, key: ObjectKey, outcome: Outcome, *, most: int | None = None) -> int:
        """Tell the first `most` who wait for a deployment, or all, how it ended; return how many."""
        waiting = (waiter for waiter in self._held.get(key, ()) if not waiter.outcome.done())
        told = list(islice(waiting, most))
        for waiter in told:
            waiter.outcome.set_result(outcome)
        return len(told)

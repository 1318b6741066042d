"""The requests that are held, by deployment, and the record of the wake they take part in. No I/O."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import TypeAlias

from tertium.api.meta import ObjectKey, format_time
from tertium.core.refusal import Refusal


class Freed(Enum):
    """Why a held request need not wait any longer, other than by a refusal."""

    READY = "ready"
    GONE = "gone"


Outcome: TypeAlias = Freed | Refusal
Waiter: TypeAlias = "asyncio.Future[Outcome]"


@dataclass(slots=True, kw_only=True)
class Wake:
    """What happened when, from the first held request until none is held; the first time of each counts."""

    held_at: datetime
    times: dict[str, datetime] = field(default_factory=dict)
    waiters: int = 0
    outcome: str = "abandoned"
    fault: str = ""
    """Why demand could not be stated, while that is so."""

    def mark(self, phase: str, now: datetime) -> None:
        """Note the time of a phase unless it is known."""
        self.times.setdefault(phase, now)

    def summary(self) -> dict[str, object]:
        """The record as log fields."""
        moments = {"heldAt": self.held_at, **self.times}
        return {
            "outcome": self.outcome,
            "waiters": self.waiters,
            **{name: format_time(moment, micro=True) for name, moment in moments.items()},
        }


class Waiters:
    """Who waits for which deployment."""

    def __init__(self) -> None:
        self._held: defaultdict[ObjectKey, set[Waiter]] = defaultdict(set)
        self.wakes: dict[ObjectKey, Wake] = {}

    def count(self, key: ObjectKey) -> int:
        """How many requests are held for a deployment."""
        return len(self._held.get(key, ()))

    def join(self, key: ObjectKey, *, limit: int, now: datetime) -> Waiter | None:
        """Hold one more request, or return None when `limit` are held already."""
        held = self._held[key]
        if len(held) >= limit:
            return None
        waiter: Waiter = asyncio.get_running_loop().create_future()
        held.add(waiter)
        self.wakes.setdefault(key, Wake(held_at=now)).waiters += 1
        return waiter

    def leave(self, key: ObjectKey, waiter: Waiter) -> Wake | None:
        """Stop holding a request; return the finished record when it was the last one."""
        held = self._held[key]
        held.discard(waiter)
        if held:
            return None
        del self._held[key]
        return self.wakes.pop(key)

    def settle(self, key: ObjectKey, outcome: Outcome) -> None:
        """Tell all who wait for a deployment how it ended."""
        for waiter in self._held.get(key, ()):
            if not waiter.done():
                waiter.set_result(outcome)

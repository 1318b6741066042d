"""A queue of keys: a key waits at most once, is worked on by at most one worker, and comes back after a wait.

Two lanes: what the world asks for goes before what is only looked at again, so that a wake never waits
behind a resync of everything. It knows neither objects nor errors. Times are seconds of the event loop's
clock.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Hashable
from enum import IntEnum
from typing import Final, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

FIRST_BACKOFF_SECONDS: Final = 0.1
LONGEST_BACKOFF_SECONDS: Final = 60.0
_FAIR: Final = 10
"""Of so many keys taken one is from the slow lane, if it has any: a storm of changes holds no resync up."""


class Lane(IntEnum):
    """How soon; the smaller, the sooner."""

    NOW = 0
    RESYNC = 1


class WorkQueue(Generic[Key]):
    """Workers call `get`, then `done`; everybody else calls `add`.

    | key is           | add                                                       |
    | absent           | queued                                                    |
    | queued           | moves to the faster lane, if that is asked for            |
    | being worked on  | queued again once the worker is done                      |
    | waiting          | queued now; its later time still holds                    |
    """

    def __init__(self, rng: random.Random | None = None) -> None:
        self._lanes: dict[Lane, dict[Key, None]] = {lane: {} for lane in Lane}
        self._working: dict[Key, float] = {}
        self._dirty: dict[Key, Lane] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}
        self._arrival = asyncio.Event()
        self._random = rng or random.Random()
        self._taken = 0
        self._open = True
        self._last_done = 0.0

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    def depth(self, lane: Lane) -> int:
        """Return how many keys wait in a lane."""
        return len(self._lanes[lane])

    def add(self, key: Key, lane: Lane = Lane.NOW) -> None:
        """Have `key` looked at as soon as a worker is free."""
        if not self._open:
            return
        if key in self._working:
            self._dirty[key] = min(lane, self._dirty.get(key, lane))
            return
        if lane is Lane.NOW:
            self._lanes[Lane.RESYNC].pop(key, None)
        elif key in self._lanes[Lane.NOW]:
            return
        self._lanes[lane].setdefault(key)
        self._arrival.set()

    def add_after(self, key: Key, seconds: float, lane: Lane = Lane.NOW) -> None:
        """Have `key` looked at in `seconds`; of several such times the earliest holds."""
        if not self._open:
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + max(0.0, seconds)
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= due:
                return
            timer.cancel()
        self._timers[key] = loop.call_at(due, self._fire, key, lane)

    def retry(self, key: Key, *, at_least: float = 0.0) -> float:
        """Have a key that failed looked at again, later each time; return the wait in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        # The exponent is bounded before the power is taken: a key may fail for weeks.
        backoff = min(FIRST_BACKOFF_SECONDS * 2.0 ** min(failures, 30), LONGEST_BACKOFF_SECONDS)
        wait = max(backoff * (0.5 + self._random.random() / 2), at_least)
        self.add_after(key, wait)
        return wait

    def succeeded(self, key: Key) -> None:
        """Forget the failures of `key`."""
        self._failures.pop(key, None)

    def forget(self, key: Key) -> None:
        """Forget failures and waits of a key that is gone."""
        self.succeeded(key)
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    def open(self) -> None:
        """Take keys, as a new queue does."""
        self._open = True

    def close(self) -> None:
        """Forget everything that waits, and take no key: nobody works until `open`."""
        self._open = False
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._failures.clear()
        self._dirty.clear()
        for lane in self._lanes.values():
            lane.clear()

    async def get(self) -> Key:
        """Wait for a key and take it; `done` gives it back."""
        while not len(self):
            self._arrival.clear()
            await self._arrival.wait()
        self._taken += 1
        first, second = self._lanes.values()
        if second and (not first or self._taken % _FAIR == 0):
            first = second
        key = next(iter(first))
        del first[key]
        self._working[key] = asyncio.get_running_loop().time()
        return key

    def done(self, key: Key) -> None:
        """Say that the worker is through with `key`."""
        self._last_done = asyncio.get_running_loop().time()
        del self._working[key]
        lane = self._dirty.pop(key, None)
        if lane is not None:
            self.add(key, lane)

    def stuck_for(self) -> float:
        """Return for how many seconds there has been work and none was finished; 0 when all is well."""
        if not self._working:
            return 0.0
        begun = min(self._working.values())
        return max(0.0, asyncio.get_running_loop().time() - max(begun, self._last_done))

    def longest(self) -> float:
        """Return for how many seconds the key that has been worked on longest has been; 0: none is."""
        begun = min(self._working.values(), default=None)
        return 0.0 if begun is None else asyncio.get_running_loop().time() - begun

    def _fire(self, key: Key, lane: Lane) -> None:
        del self._timers[key]
        self.add(key, lane)

"""The time of day, handed in so that tests choose it, and seconds that nobody can set."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Final, Protocol

# Goes on while the machine sleeps; where there is none, the best there is.
_BOOT_CLOCK: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> datetime:
        """Return the time, aware and in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the time, aware and in UTC."""
        return datetime.now(UTC)


def boot_seconds() -> float:
    """Return seconds since some fixed moment: they never jump, and go on while this process is stopped."""
    return time.clock_gettime(_BOOT_CLOCK)

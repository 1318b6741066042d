"""Progress by step with seconds, for people who wait."""

import contextlib
import sys
import time
from collections.abc import Iterator


class Steps:
    """Prints a line when something is done, and before it when it takes long."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._start = time.monotonic()
        self._quiet = quiet

    @property
    def seconds(self) -> float:
        """Seconds since the first step began."""
        return time.monotonic() - self._start

    def say(self, what: str) -> None:
        """Print one line with the seconds so far."""
        if not self._quiet:
            print(f"{self.seconds:7.1f}s  {what}", file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Announce work that takes more than a moment, and say how long it took."""
        begin = time.monotonic()
        self.say(f"{what} ...")
        yield
        self.say(f"{what}: {time.monotonic() - begin:.1f} s")

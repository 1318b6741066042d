"""Waiting for what a cluster will show, with a message that says what was seen instead."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(what: str, probe: Callable[[], T | None], *, seconds: float, every: float = 0.25) -> T:
    """Return the first result of `probe` that is neither None nor False.

    Raises AssertionError after `seconds`, with the text of the last failed assertion inside `probe`, if any.
    """
    deadline = time.monotonic() + seconds
    last = ""
    while True:
        try:
            result = probe()
        except AssertionError as error:
            result, last = None, f"; last: {error}"
        if result is not None and result is not False:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not seen within {seconds:.0f} s{last}")
        time.sleep(every)

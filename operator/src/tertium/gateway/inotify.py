"""How many files Envoy may follow: it takes an inotify instance for each, and aborts when there is none left.

The kernel grants a number of them (128 by default) to all processes of a user on a node together, so what
is left can only be found out by trying.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

MOST_FOLLOWED: Final = 32
_SPARE: Final = 2
"""Of this many free instances Envoy gets one: its restart, and other pods of the same user, need some too."""


def followable() -> int:
    """Return how many files Envoy may follow on this node, at most 32."""
    library = ctypes.CDLL(None, use_errno=True)
    taken: list[int] = []
    try:
        while len(taken) < MOST_FOLLOWED * _SPARE:
            descriptor = int(library.inotify_init())
            if descriptor < 0:
                break
            taken.append(descriptor)
        return len(taken) // _SPARE
    finally:
        for descriptor in taken:
            os.close(descriptor)

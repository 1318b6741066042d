"""How long a start will still take, by how long the last ones of the same model took. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

MOST_STARTS: Final = 8
"""How many starts are remembered: enough for a quantile, few enough to forget another cluster's speed."""


def expected_millis(starts: Sequence[int]) -> int | None:
    """Return what three of four starts did not exceed; None: none is known.

    Not the average: one start that waited an hour for a GPU says nothing about the next. Not the half: who
    comes back too early waits again, and some clients ask three times only.

    >>> expected_millis([40_000, 42_000, 3_600_000, 41_000])
    42000
    """
    if not starts:
        return None
    return sorted(starts)[-(-3 * len(starts) // 4) - 1]


def remaining_millis(starts: Sequence[int], elapsed: int) -> int | None:
    """Return how long a start will still take that began `elapsed` ago; None: nobody can know.

    Only starts that took longer than this one already has tell anything of it.

    | starts, in s   | elapsed | result                         |
    | none           | any     | None                           |
    | 40, 42, 41, 90 | 0 s     | 42 s                           |
    | 40, 42, 41, 90 | 30 s    | 12 s                           |
    | 40, 42, 41, 90 | 50 s    | 40 s                           |
    | 40, 42, 41, 90 | 95 s    | None: longer than ever before  |
    """
    expected = expected_millis([start for start in starts if start > elapsed])
    return None if expected is None else expected - elapsed

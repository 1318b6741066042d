"""Who is held, in what order, and when there is no room."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tertium.api.meta import ObjectKey
from tertium.gateway.waiters import Bounds, Freed, Full, Waiter, Waiters

KEY, OTHER = ObjectKey("team", "a"), ObjectKey("team", "b")
NOW = datetime(2026, 11, 27, tzinfo=UTC)


def some(waiters: Waiters, count: int, *, key: ObjectKey = KEY, size: int = 1) -> list[Waiter]:
    """Hold so many more."""
    found = [waiters.join(key, limit=100, size=size, now=NOW) for _ in range(count)]
    return [waiter for waiter in found if isinstance(waiter, Waiter)]


def told(held: Sequence[Waiter]) -> list[bool]:
    return [waiter.outcome.done() for waiter in held]


async def test_the_first_in_line_are_told_first() -> None:
    waiters = Waiters(Bounds())
    held = some(waiters, 4)
    assert waiters.settle(KEY, Freed.READY, most=1) == 1
    assert told(held) == [True, False, False, False]
    waiters.leave(KEY, held[1])
    assert waiters.settle(KEY, Freed.READY, most=1) == 1
    assert told(held) == [True, False, True, False]
    assert (waiters.count(KEY), waiters.waiting(KEY)) == (3, 1)
    assert waiters.settle(KEY, Freed.GONE) == 1
    assert held[0].outcome.result() is Freed.READY
    assert held[3].outcome.result() is Freed.GONE


async def test_the_record_of_a_wake_is_handed_over_when_the_last_one_leaves() -> None:
    waiters = Waiters(Bounds())
    first, second = some(waiters, 2)
    assert waiters.leave(KEY, first) is None
    wake = waiters.leave(KEY, second)
    assert wake is not None
    assert (wake.waiters, wake.outcome, waiters.wakes) == (2, "abandoned", {})
    assert (wake.mark("podIpAt", NOW), wake.mark("podIpAt", NOW)) == (True, False)


@pytest.mark.parametrize(
    ("bounds", "limit", "size", "expected"),
    [
        pytest.param(Bounds(), 2, 1, Full.MODEL, id="the deployment's bound"),
        pytest.param(Bounds(requests=3), 9, 1, Full.REQUESTS, id="the gateway's, other models included"),
        pytest.param(Bounds(body_bytes=39), 9, 10, Full.BYTES, id="and that of the bodies' bytes"),
        pytest.param(Bounds(requests=4, body_bytes=40), 3, 10, None, id="there is room for one more"),
    ],
)
async def test_a_bound_that_is_reached(bounds: Bounds, limit: int, size: int, expected: Full | None) -> None:
    waiters = Waiters(bounds)
    some(waiters, 2, size=10)
    some(waiters, 1, key=OTHER, size=10)
    joined = waiters.join(KEY, limit=limit, size=size, now=NOW)
    assert (joined if isinstance(joined, Full) else None) == expected


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([KEY, OTHER]), st.integers(0, 60), st.booleans()), max_size=40))
def test_what_is_counted_is_what_is_held(steps: list[tuple[ObjectKey, int, bool]]) -> None:
    async def play() -> None:
        waiters, held = Waiters(Bounds(requests=6, body_bytes=100)), list[tuple[ObjectKey, Waiter]]()
        for key, size, leaves in steps:
            if leaves and held:
                waiters.leave(*held.pop(0))
            elif isinstance(waiter := waiters.join(key, limit=4, size=size, now=NOW), Waiter):
                held.append((key, waiter))
            assert waiters.total == len(held) <= 6
            assert waiters.body_bytes == sum(waiter.size for _, waiter in held) <= 100
            for known in (KEY, OTHER):
                assert waiters.count(known) == sum(key == known for key, _ in held) <= 4
            assert waiters.wakes.keys() == {key for key, _ in held}

    asyncio.run(play())

"""The queue of keys, on a loop whose time is free."""

from __future__ import annotations

import asyncio
import random

import pytest

from tertium.runtime.queue import LONGEST_BACKOFF_SECONDS, Lane, WorkQueue

pytestmark = pytest.mark.looptime


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_a_key_that_waits_is_not_queued_twice() -> None:
    queue = WorkQueue[str]()
    for key in ("a", "b", "a"):
        queue.add(key)
    assert [await queue.get(), await queue.get()] == ["a", "b"]
    assert len(queue) == 0


async def test_a_key_is_worked_on_once_at_a_time_and_then_again() -> None:
    queue = WorkQueue[str]()
    queue.add("a")
    await queue.get()
    queue.add("a")
    queue.add("a")
    assert len(queue) == 0
    queue.done("a")
    assert await queue.get() == "a"
    queue.done("a")
    assert len(queue) == 0


async def test_a_worker_waits_for_a_key() -> None:
    queue = WorkQueue[str]()
    asyncio.get_running_loop().call_later(3, queue.add, "a")
    assert await queue.get() == "a"
    assert now() == pytest.approx(3)


async def test_many_workers_share_the_keys() -> None:
    queue = WorkQueue[int]()
    taken: list[int] = []

    async def work() -> None:
        while True:
            key = await queue.get()
            await asyncio.sleep(1)
            taken.append(key)
            queue.done(key)

    workers = [asyncio.create_task(work()) for _ in range(4)]
    for key in range(8):
        queue.add(key)
    await asyncio.sleep(2.5)
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    assert sorted(taken) == list(range(8))


@pytest.mark.parametrize(
    ("waits", "due"),
    [
        pytest.param((10, 4), 4, id="an earlier time replaces a later one"),
        pytest.param((4, 10), 4, id="a later time does not replace an earlier one"),
        pytest.param((-1,), 0, id="a time that has passed is now"),
    ],
)
async def test_a_key_comes_back_at_the_earliest_time(waits: tuple[float, ...], due: float) -> None:
    queue = WorkQueue[str]()
    for wait in waits:
        queue.add_after("a", wait)
    assert await queue.get() == "a"
    assert now() == pytest.approx(due)


async def test_failures_wait_longer_each_time_up_to_a_limit() -> None:
    queue = WorkQueue[str](random.Random(1))
    waits = []
    for _ in range(40):
        waits.append(queue.retry("a"))
        await queue.get()
        queue.done("a")
    assert 0.05 <= waits[0] <= 0.1
    assert 0.8 <= waits[4] <= 1.6
    assert LONGEST_BACKOFF_SECONDS / 2 <= waits[-1] <= LONGEST_BACKOFF_SECONDS
    queue.succeeded("a")
    assert queue.retry("a") <= 0.1
    queue.close()


async def test_the_other_sides_wait_is_respected() -> None:
    queue = WorkQueue[str]()
    assert queue.retry("a", at_least=7) == 7
    queue.close()


async def test_what_the_world_asks_for_goes_before_a_resync() -> None:
    queue = WorkQueue[str]()
    for number in range(1000):
        queue.add(f"resync-{number}", Lane.RESYNC)
    queue.add("wake")
    queue.add("resync-999")
    assert (queue.depth(Lane.NOW), queue.depth(Lane.RESYNC), len(queue)) == (2, 999, 1001)
    assert [await queue.get() for _ in range(3)] == ["wake", "resync-999", "resync-0"]


async def test_a_storm_of_changes_does_not_hold_a_resync_up_for_ever() -> None:
    queue = WorkQueue[str]()
    queue.add("resync", Lane.RESYNC)
    taken = []
    for number in range(12):
        queue.add(f"change-{number}")
        taken.append(await queue.get())
    assert taken.index("resync") == 9


@pytest.mark.parametrize(
    ("asked", "lane"),
    [
        pytest.param((Lane.RESYNC,), Lane.RESYNC, id="a resync while it is worked on is a resync again"),
        pytest.param((Lane.RESYNC, Lane.NOW), Lane.NOW, id="the faster lane wins"),
        pytest.param((Lane.NOW, Lane.RESYNC), Lane.NOW, id="in whatever order"),
    ],
)
async def test_a_key_worked_on_remembers_how_soon_it_is_wanted(asked: tuple[Lane, ...], lane: Lane) -> None:
    queue = WorkQueue[str]()
    queue.add("a")
    await queue.get()
    for each in asked:
        queue.add("a", each)
    queue.done("a")
    assert queue.depth(lane) == len(queue) == 1


async def test_a_resync_does_not_slow_down_what_is_wanted_now() -> None:
    queue = WorkQueue[str]()
    queue.add("a")
    queue.add("a", Lane.RESYNC)
    assert queue.depth(Lane.NOW) == len(queue) == 1


async def test_a_timer_keeps_its_lane() -> None:
    queue = WorkQueue[str]()
    queue.add_after("a", 1, Lane.RESYNC)
    await asyncio.sleep(2)
    assert queue.depth(Lane.RESYNC) == 1


async def test_a_closed_queue_forgets_everything_and_takes_nothing_until_it_is_opened() -> None:
    queue = WorkQueue[str]()
    queue.add("working")
    await queue.get()
    queue.add("working")
    queue.add("now")
    queue.add("resync", Lane.RESYNC)
    queue.add_after("later", 1)
    queue.retry("failed")
    queue.close()
    queue.done("working")
    queue.add("another")
    queue.add_after("another", 1)
    await asyncio.sleep(100)
    assert len(queue) == 0
    queue.open()
    assert queue.retry("failed") <= 0.1
    queue.add("another")
    assert len(queue) == 1
    queue.close()


async def test_a_key_that_is_gone_does_not_come_back() -> None:
    queue = WorkQueue[str]()
    queue.add_after("a", 1)
    queue.forget("a")
    await asyncio.sleep(2)
    assert len(queue) == 0


async def test_work_that_does_not_end_is_noticed() -> None:
    queue = WorkQueue[str]()
    await asyncio.sleep(5)
    assert queue.stuck_for() == 0
    queue.add("a")
    queue.add("b")
    await queue.get()
    await asyncio.sleep(70)
    assert queue.stuck_for() == pytest.approx(70)
    queue.done("a")
    assert queue.stuck_for() == 0


async def test_one_key_that_hangs_is_noticed_while_others_are_worked_on() -> None:
    queue = WorkQueue[str]()
    assert queue.longest() == 0
    queue.add("hangs")
    assert await queue.get() == "hangs"
    await asyncio.sleep(50)
    queue.add("fine")
    queue.done(await queue.get())
    assert queue.stuck_for() == 0
    assert queue.longest() == pytest.approx(50)
    queue.done("hangs")
    assert queue.longest() == 0

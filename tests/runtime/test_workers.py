"""The loop around a pass, on a loop whose time is free."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from tertium.api.meta import ObjectKey
from tertium.kube.cluster import LEASE, SERVICE
from tertium.runtime import execute
from tertium.runtime.relist import relist
from tests.factories import KEY, a_manifest
from tests.runtime.world import Running, World, failing_on

pytestmark = pytest.mark.looptime


async def test_a_key_is_worked_on_and_asked_again_in_time() -> None:
    world = World()
    await relist(world.cluster, world.store)
    async with Running(world):
        world.queue.add(KEY)
        await asyncio.sleep(0.01)
        assert world.conditions["Planned"] == "Unknown/Inspecting"


async def test_a_passing_fault_is_retried_until_it_is_gone() -> None:
    world = World()
    await relist(world.cluster, world.store)
    world.cluster.fail = failing_on("apply", "Lease")
    async with Running(world):
        world.queue.add(KEY)
        await asyncio.sleep(1)
        assert (LEASE.kind, ObjectKey(KEY.namespace, "qwen-demand")) not in world.cluster.objects
        world.cluster.fail = lambda verb, kind, name: None
        await asyncio.sleep(5)
        assert world.lease()["metadata"]["name"] == "qwen-demand"


async def test_a_bug_stops_no_worker(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    await relist(world.cluster, world.store)

    def broken(verb: str, kind: str, name: str) -> None:
        raise ZeroDivisionError("odd")

    world.cluster.fail = broken
    async with Running(world):
        world.queue.add(KEY)
        await asyncio.sleep(1)
        world.cluster.fail = lambda verb, kind, name: None
        await asyncio.sleep(70)
        assert world.conditions["Accepted"] == "True/Valid"
    assert "reconcile failed by a bug; please report it" in caplog.text


async def test_every_pass_that_does_something_is_one_line_of_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    world = World()
    await relist(world.cluster, world.store)
    async with Running(world):
        await asyncio.sleep(5)
    lines = [record.__dict__ for record in caplog.records if record.message == "reconciled"]
    assert [line["result"] for line in lines] == ["changed", "changed"]
    line = lines[0]
    assert (line["key"], line["generation"]) == ("team-a/qwen", 1)
    assert line["why"] == "without a plan nothing is started or stopped"
    assert line["rule"] == "keep_without_plan"
    assert line["actions"][-1] == "wrote status"
    assert line["ms"] >= 0


async def test_passes_are_counted_by_what_they_came_to() -> None:
    world = World()
    await relist(world.cluster, world.store)
    async with Running(world):
        await asyncio.sleep(5)
    counts = {
        result: world.registry.get_sample_value("tertium_reconcile_seconds_count", {"result": result})
        for result in ("changed", "unchanged", "failed")
    }
    assert counts == {"changed": 2, "unchanged": 1, "failed": None}


async def test_a_new_leader_begins_with_who_is_waited_for() -> None:
    world = World()
    await world.settle_inspected()
    for number in range(50):
        world.cluster.put(a_manifest(key=ObjectKey("team-b", f"resting-{number}"), uid=f"r{number}"))
    await world.demand()
    await relist(world.cluster, world.store)
    before = len(world.cluster.calls)
    async with Running(world):
        await asyncio.sleep(1)
    assert world.cluster.calls[before][1] == "Deployment"


async def test_a_leader_that_ends_leaves_nothing_behind() -> None:
    world = World()
    await relist(world.cluster, world.store)
    async with Running(world):
        await asyncio.sleep(5)
    world.queue.add(KEY)
    assert len(world.queue) == 0


async def test_it_reads_everything_before_it_decides_and_waits_until_it_can(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()
    world.cluster.fail = failing_on("list", "Pod")
    preparing = asyncio.create_task(world.controller.prepare())
    await asyncio.sleep(10)
    assert not preparing.done()
    world.cluster.fail = lambda verb, kind, name: None
    await preparing
    assert world.store.owners.keys() == {KEY}
    assert "a list could not be read" in caplog.text


async def test_a_list_that_could_not_be_read_is_read_soon_after() -> None:
    world = World()
    await world.settle_inspected()
    async with Running(world):
        world.cluster.fail = failing_on("list", "Lease")
        await asyncio.sleep(45)
        # The watch has not told of it.
        world.cluster.remove(LEASE, ObjectKey(KEY.namespace, "qwen-demand"))
        world.cluster.fail = lambda verb, kind, name: None
        await asyncio.sleep(60)
        assert world.lease()["metadata"]["name"] == "qwen-demand"


async def test_what_can_never_be_made_as_wanted_is_no_hot_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "is_as_wanted", lambda live, wanted: False)
    world = World()
    await relist(world.cluster, world.store)
    async with Running(world):
        await asyncio.sleep(60)
    assert world.cluster.calls.count(("apply", "Lease", "qwen-demand")) < 20


async def test_everything_is_looked_at_again_from_time_to_time_and_not_all_at_once() -> None:
    world = World()
    await world.settle_inspected()
    for number in range(20):
        world.cluster.put(a_manifest(key=ObjectKey("team-b", f"other-{number}"), uid=f"o{number}"))
    await relist(world.cluster, world.store)
    async with Running(world):
        await asyncio.sleep(100)
        counts = [passes(world)]
        for _ in range(100):
            await asyncio.sleep(10)
            counts.append(passes(world))
    assert counts[-1] - counts[0] >= 21
    assert max(later - sooner for sooner, later in pairwise(counts)) < 12


async def test_everything_is_looked_at_again_while_a_list_cannot_be_read() -> None:
    world = World()
    await world.settle_inspected()
    async with Running(world):
        world.cluster.fail = failing_on("list", "Node")
        await asyncio.sleep(100)
        before = passes(world)
        await asyncio.sleep(1100)
        assert passes(world) > before


def passes(world: World) -> int:
    results = ("changed", "unchanged", "refused")
    counts = (
        world.registry.get_sample_value("tertium_reconcile_seconds_count", {"result": result})
        for result in results
    )
    return sum(int(count or 0) for count in counts)


async def test_a_lost_event_is_found_by_the_next_list() -> None:
    world = World()
    await world.settle_inspected()
    world.cluster.remove(SERVICE, ObjectKey(KEY.namespace, "qwen-engine"))
    async with Running(world):
        await asyncio.sleep(40)
        assert world.cluster.one(SERVICE, "qwen-engine")

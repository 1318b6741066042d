"""The loop around a pass, on a loop whose time is free."""

from __future__ import annotations

import asyncio

import pytest

from tertium.api.meta import ObjectKey
from tertium.kube.cluster import LEASE, SERVICE
from tertium.runtime.relist import relist
from tests.factories import KEY
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
        assert world.lease()["spec"] == {"leaseDurationSeconds": 15}


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


async def test_a_lost_event_is_found_by_the_next_list() -> None:
    world = World()
    await world.settle_inspected()
    world.cluster.remove(SERVICE, ObjectKey(KEY.namespace, "qwen-engine"))
    async with Running(world):
        await asyncio.sleep(40)
        assert world.cluster.one(SERVICE, "qwen-engine")

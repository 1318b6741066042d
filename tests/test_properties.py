"""Whatever happens in whatever order, the operator converges, and keeps what rollouts promise on the way."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tertium.kube.cluster import DEPLOYMENT, LEASE, SERVICE
from tests.simulation import BAD_ARGUMENT, PRODUCTS, Simulation

MODEL = {"scaling": {"maxReplicas": 2, "idleSeconds": 30}, "rollout": {}, "engine": {}}
BOTH = [{"product": product} for product in PRODUCTS]
EDITS: list[dict[str, Any]] = [
    {"engine": {}},
    {"engine": {"args": ["--seed=1"]}},
    {"engine": {"args": ["--seed=2"]}},
    {"engine": {"args": [BAD_ARGUMENT]}},
    {"rollout": {"strategy": "Recreate"}},
    {"rollout": {"strategy": "Surge"}},
    {"rollout": {"onFailure": "Rollback"}},
    {"rollout": {"strategy": "Recreate", "onFailure": "Rollback"}},
    {"replicas": 0},
    {"replicas": 1},
    {"replicas": 2},
    {"replicas": None},
    {"suspend": True},
    {"suspend": False},
    {"accelerators": BOTH},
    {"accelerators": BOTH[::-1]},
    {"accelerators": BOTH[:1]},
    {"accelerators": []},
]
CUTS = st.one_of(st.none(), st.tuples(st.integers(0, 5), st.booleans()))
STEPS = st.one_of(
    st.tuples(st.just("round"), CUTS),
    st.tuples(st.just("round"), CUTS),
    st.tuples(st.just("operate"), CUTS),
    st.tuples(st.sampled_from(["look", "replicate", "schedule", "run_engines", "demand", "restart"])),
    st.tuples(st.sampled_from(["look", "replicate", "schedule", "run_engines"])),
    st.tuples(st.just("edit"), st.sampled_from(EDITS)),
    st.tuples(st.just("advance"), st.sampled_from([1, 20, 61, 700])),
    st.tuples(st.just("free"), st.sampled_from(PRODUCTS), st.integers(0, 3)),
    st.tuples(st.just("in_flight"), st.sampled_from([None, 0, 1, 9])),
    st.tuples(st.just("remove"), st.sampled_from([SERVICE, LEASE, DEPLOYMENT])),
    st.tuples(st.just("stop_engines")),
)
SERVES: list[tuple[Any, ...]] = [("round", None)] * 4
FINAL = {
    "engine": {"args": ["--final"]},
    "rollout": {},
    "suspend": False,
    "accelerators": [],
    "scaling": {"maxReplicas": 2, "idleSeconds": 30},
}


async def take(world: Simulation, step: tuple[Any, ...]) -> None:
    match step:
        case ("operate", cut):
            await world.operate(cut)
        case ("round", cut):
            await world.look()
            await world.operate(cut)
            world.replicate()
            world.schedule()
            world.run_engines()
        case ("look",):
            await world.look()
        case ("demand",):
            await world.demand()
        case ("restart",):
            world.restart()
            await world.look()
        case ("edit", spec):
            world.edit(spec)
        case ("advance", seconds):
            world.clock.advance(seconds)
        case ("free", product, count):
            world.free[product] = count
        case ("remove", kind):
            world.remove(kind)
        case ("in_flight", count):
            world.in_flight = count
        case (act,):
            getattr(world, act)()


async def run(spec: dict[str, Any], steps: list[tuple[Any, ...]]) -> Simulation:
    world = Simulation({**MODEL, **spec})
    await world.begin()
    for step in steps:
        await take(world, step)
    return world


async def calm(world: Simulation, spec: dict[str, Any]) -> None:
    """End all trouble, ask for something that works, and wait until everything has come to rest."""
    world.free = dict.fromkeys(PRODUCTS, 9)
    world.in_flight = 0
    world.edit({**FINAL, **spec})
    world.clock.advance(3600)
    await world.settle_all()


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(STEPS, min_size=5, max_size=50))
def test_it_converges_to_what_is_asked_for(steps: list[tuple[Any, ...]]) -> None:
    async def story() -> None:
        world = await run({"replicas": 1}, [*SERVES, *steps])
        await calm(world, {"replicas": 2})
        assert sorted(world.counts.values()) == [2]
        assert list(world.ready().values()) == [2]
        assert world.conditions["Ready"] == "True/Ready"
        await world.look()
        assert not await world.operate(), "a second pass writes nothing"
        world.restart()
        await world.look()
        assert not await world.operate(), "nor does that of an operator that was restarted"

    asyncio.run(story())


@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(STEPS, max_size=50))
def test_it_comes_to_rest_at_zero(steps: list[tuple[Any, ...]]) -> None:
    async def story() -> None:
        world = await run({}, steps)
        await calm(world, {"replicas": None})
        world.clock.advance(3600)
        await world.settle_all()
        assert (list(world.counts.values()), world.pods) == ([0], [])
        assert world.conditions["Ready"] == "True/Ready"
        await world.look()
        assert not await world.operate(), "a second pass writes nothing"

    asyncio.run(story())


ROLLOUT: list[tuple[Any, ...]] = [("edit", {"engine": {"args": ["--seed=1"]}})]
FAILING: list[tuple[Any, ...]] = [("edit", {"engine": {"args": [BAD_ARGUMENT]}})]


async def serving(replicas: int, rollout: dict[str, Any]) -> tuple[Simulation, str]:
    world = await run({"replicas": replicas, "rollout": rollout}, [])
    await world.settle_all()
    assert list(world.ready().values()) == [replicas]
    return world, next(iter(world.ready()))


async def step_by_step(world: Simulation, rounds: int) -> list[tuple[int, int]]:
    """Let everybody act in turn; return how many pods there were and how many answered, each time."""
    seen = []
    for _ in range(rounds):
        await world.look()
        await world.operate()
        for act in (world.replicate, world.schedule, world.run_engines):
            act()
            seen.append((len(world.pods), sum(world.ready().values())))
        world.clock.advance(1)
    return seen


async def test_a_surge_of_three_never_has_fewer_than_three_ready_nor_more_than_four_pods() -> None:
    world, old = await serving(3, {})
    world.free = dict.fromkeys(PRODUCTS, 4)
    await take(world, ROLLOUT[0])
    seen = await step_by_step(world, 20)
    assert (max(pods for pods, _ in seen), min(ready for _, ready in seen)) == (4, 3)
    assert list(world.ready().values()) == [3]
    assert old not in world.counts


async def test_a_recreate_never_has_more_pods_than_before() -> None:
    world, old = await serving(3, {"strategy": "Recreate"})
    await take(world, ROLLOUT[0])
    seen = await step_by_step(world, 12)
    assert max(pods for pods, _ in seen) == 3
    assert list(world.ready().values()) == [3]
    assert old not in world.counts


async def test_a_surge_that_cannot_start_leaves_the_old_replicas_and_frees_its_gpu() -> None:
    world, old = await serving(2, {})
    await take(world, FAILING[0])
    seen = await step_by_step(world, 12)
    assert min(ready for _, ready in seen) == 2
    assert (world.ready(), len(world.pods)) == ({old: 2}, 2)
    assert world.conditions["Ready"] == "True/Ready"


@pytest.mark.parametrize("strategy", ["Surge", "Recreate"])
async def test_a_rollback_serves_by_the_revision_before_also_after_a_sleep(strategy: str) -> None:
    world, old = await serving(2, {"strategy": strategy, "onFailure": "Rollback"})
    await take(world, FAILING[0])
    await world.settle_all()
    assert world.ready() == {old: 2}
    assert world.conditions["Progressing"] == "False/RolledBack"

    world.edit({"replicas": 0})
    await world.settle_all()
    world.clock.advance(7200)
    world.edit({"replicas": 1})
    await world.settle_all()
    assert world.ready() == {old: 1}

    await take(world, ROLLOUT[0])
    await world.settle_all()
    assert list(world.ready().values()) == [1]
    assert old not in world.counts


async def test_a_failing_start_is_tried_less_and_less_often() -> None:
    world = await run({"replicas": 1, "engine": {"args": [BAD_ARGUMENT]}}, [])
    starts = []
    for second in range(0, 4000, 20):
        made = world.made
        await step_by_step(world, 1)
        world.clock.advance(19)
        if world.made > made:
            starts.append(second)
    pauses = [later - earlier for earlier, later in pairwise(starts)]
    assert pauses == pytest.approx([60, 120, 240, 480, 960, 1800], abs=60)


async def test_replicas_move_to_the_next_product_and_stay_there() -> None:
    world = await run({"replicas": 1, "accelerators": BOTH}, [("free", PRODUCTS[0], 0)])
    await step_by_step(world, 70)
    assert [pod["spec"]["nodeSelector"]["nvidia.com/gpu.product"] for pod in world.pods] == [PRODUCTS[1]]
    world.free[PRODUCTS[0]] = 9
    world.clock.advance(3600)
    world.edit({"replicas": 2})
    await world.settle_all()
    products = [pod["spec"]["nodeSelector"]["nvidia.com/gpu.product"] for pod in world.pods]
    assert products == [PRODUCTS[1]] * 2
    world.edit({"replicas": 0})
    await world.settle_all()
    world.edit({"replicas": 1})
    await world.settle_all()
    assert [pod["spec"]["nodeSelector"]["nvidia.com/gpu.product"] for pod in world.pods] == [PRODUCTS[0]]

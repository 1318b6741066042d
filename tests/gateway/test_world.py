"""What the gateway concludes from watch events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from tertium.api.meta import Manifest, ObjectKey, format_time
from tertium.gateway.world import World
from tertium.kube.cluster import Cluster, Kind, WatchEvent
from tests.gateway.parts import a_deployment, a_pod

KEY = ObjectKey("team", "m")
SYNCED = WatchEvent("SYNCED", None)


class Told:
    """A cluster whose watches end after the events they were given."""

    def __init__(self, deployments: Sequence[WatchEvent], pods: Sequence[WatchEvent]) -> None:
        self._events = {"LLMDeployment": deployments, "Pod": pods}

    async def watch(self, kind: Kind, *, labels: str = "") -> AsyncIterator[WatchEvent]:
        for event in self._events[kind.kind]:
            yield event


def listed(*manifests: Manifest) -> list[WatchEvent]:
    return [*(WatchEvent("LISTED", manifest) for manifest in manifests), SYNCED]


async def told(
    deployments: Sequence[WatchEvent], pods: Sequence[WatchEvent], world: World | None = None
) -> tuple[World, list[tuple[ObjectKey, ...]]]:
    """Feed a world; return it and what it said had changed."""
    world = world or World()
    said: list[tuple[ObjectKey, ...]] = []
    world.on_change = lambda keys: said.append(tuple(keys))
    cluster = cast(Cluster, Told(deployments, pods))
    await world.follow_deployments(cluster)
    await world.follow_pods(cluster)
    return world, said


async def test_nothing_is_said_before_both_kinds_are_known() -> None:
    world, said = await told(listed(a_deployment("m")), [])
    assert (world.synced, said) == (False, [])
    world, said = await told(listed(a_deployment("m")), listed())
    assert (world.synced, said) == (True, [(KEY,)])


async def test_an_empty_cluster_is_a_state_too() -> None:
    world, said = await told(listed(), listed())
    assert (world.synced, said) == (True, [()])


async def test_a_pod_that_changes_nothing_is_not_news() -> None:
    pod = a_pod(KEY, ip="10.0.0.1", ready=True)
    again = {**pod, "metadata": {**pod["metadata"], "resourceVersion": "2"}}
    world, said = await told(listed(a_deployment("m")), [*listed(pod), WatchEvent("MODIFIED", again)])
    assert (world.addresses(KEY), len(said)) == (("10.0.0.1",), 1)


async def test_what_a_later_list_does_not_show_is_gone() -> None:
    pod = a_pod(KEY, ip="10.0.0.1", ready=True)
    other = ObjectKey("team", "other")
    world, _ = await told(listed(a_deployment("m"), a_deployment("other")), listed(pod))
    world, said = await told(listed(a_deployment("other")), listed(), world)
    assert world.table.models.keys() == {other}
    assert said[0] == (other, KEY)
    assert world.replicas(KEY) == []


async def test_a_deleted_deployment_and_a_deleted_pod_are_news() -> None:
    pod, manifest = a_pod(KEY, ip="10.0.0.1", ready=True), a_deployment("m")
    world, _ = await told(listed(manifest), listed(pod))
    world, said = await told([WatchEvent("DELETED", manifest)], [], world)
    assert (world.table.models, said) == ({}, [(KEY,)])
    world, _ = await told(listed(manifest), [WatchEvent("DELETED", pod)], world)
    assert world.addresses(KEY) == ()


async def test_a_spec_that_breaks_the_schema_drops_the_model_until_it_is_mended() -> None:
    good, bad = a_deployment("m"), a_deployment("m", coldStart={"holdSeconds": 0})
    world, _ = await told(listed(good), listed())
    world, said = await told([WatchEvent("MODIFIED", bad)], [], world)
    assert (world.table.models, list(world.skipped), said) == ({}, [KEY], [(KEY,)])
    world, said = await told([WatchEvent("MODIFIED", good)], [], world)
    assert (list(world.table.models), world.skipped, said) == ([KEY], {}, [(KEY,)])


async def test_a_proof_ends_with_the_life_it_was_about() -> None:
    first = a_pod(KEY, name="p", ip="10.0.0.1")
    world, _ = await told(listed(a_deployment("m")), listed(first))
    replica = world.replicas(KEY)[0]
    world.prove(KEY, replica)
    assert world.addresses(KEY) == ("10.0.0.1",)
    later: list[dict[str, Any]] = [a_pod(KEY, name="p", ip="10.0.0.1", restarts=1)]
    world, _ = await told([], [WatchEvent("MODIFIED", pod) for pod in later], world)
    assert world.addresses(KEY) == ()
    world.prove(KEY, replica)
    assert world.addresses(KEY) == (), "a late answer of the former life proves nothing"


async def test_a_doubted_replica_is_left_out_until_it_answers() -> None:
    world, _ = await told(listed(a_deployment("m")), listed(a_pod(KEY, ip="10.0.0.1", ready=True)))
    replica = world.replicas(KEY)[0]
    world.doubt(KEY, replica)
    assert world.addresses(KEY) == ()
    world.prove(KEY, replica)
    assert world.addresses(KEY) == ("10.0.0.1",)


async def test_pods_of_a_namesake_in_another_namespace_are_not_mixed_up() -> None:
    pods = listed(a_pod(ObjectKey("other", "m"), ip="10.0.0.9", ready=True))
    world, _ = await told(listed(a_deployment("m"), a_deployment("m", namespace="other")), pods)
    assert world.addresses(KEY) == ()
    assert world.addresses(ObjectKey("other", "m")) == ("10.0.0.9",)


async def test_a_start_is_timed_from_its_first_sight_or_by_the_api_server_where_it_was_under_way() -> None:
    clock = [1000.0]
    world = World(seconds=lambda: clock[0])
    long_ago = {**a_pod(KEY, name="old")}
    long_ago["metadata"]["creationTimestamp"] = format_time(datetime.now(UTC) - timedelta(seconds=70))
    await told(listed(a_deployment("m")), listed(long_ago), world)
    assert world.elapsed(KEY) == pytest.approx(70, abs=2)
    assert world.elapsed(ObjectKey("team", "other")) == 0
    wrong = {**a_pod(KEY, name="young")}
    wrong["metadata"]["creationTimestamp"] = format_time(datetime.now(UTC) - timedelta(hours=3))
    await told([], [WatchEvent("DELETED", long_ago), WatchEvent("ADDED", wrong)], world)
    clock[0] += 5
    assert world.elapsed(KEY) == 5, "whatever the clocks of the two machines show"


async def test_a_container_that_starts_again_begins_anew_and_is_cold() -> None:
    clock = [0.0]
    world = World(seconds=lambda: clock[0])
    warm = a_deployment("m", coldStart={"warmUp": True})
    await told(listed(warm), listed(), world)
    await told([], [WatchEvent("ADDED", a_pod(KEY, name="p", ip="10.0.0.1", ready=True))], world)
    assert world.addresses(KEY) == ()
    (replica,) = world.cold(KEY)
    world.warmed(KEY, replica)
    assert (world.addresses(KEY), world.cold(KEY)) == (("10.0.0.1",), [])
    flickered = a_pod(KEY, name="p", ip="10.0.0.1", ready=True, ready_since="t1")
    await told([], [WatchEvent("MODIFIED", flickered)], world)
    assert world.addresses(KEY) == ("10.0.0.1",), "it is as warm as it was"
    clock[0] = 500
    again = a_pod(KEY, name="p", ip="10.0.0.1", restarts=1)
    await told([], [WatchEvent("MODIFIED", again)], world)
    clock[0] = 510
    assert (world.addresses(KEY), world.elapsed(KEY)) == ((), 10)
    world.warmed(KEY, replica)
    ready = a_pod(KEY, name="p", ip="10.0.0.1", restarts=1, ready=True)
    await told([], [WatchEvent("MODIFIED", ready)], world)
    assert world.addresses(KEY) == (), "a late word about the former engine says nothing about this one"


async def test_what_was_ready_before_this_gateway_is_warm() -> None:
    warm = a_deployment("m", coldStart={"warmUp": True})
    world, _ = await told(listed(warm), listed(a_pod(KEY, ip="10.0.0.1", ready=True)))
    assert world.addresses(KEY) == ("10.0.0.1",)

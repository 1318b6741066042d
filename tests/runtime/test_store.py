"""What the store keeps when events come late, twice, or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from tertium.api.meta import ObjectKey
from tertium.core import names
from tertium.core.demand import claim_key, claim_text
from tertium.core.errors import Retryable
from tertium.kube.cluster import POD
from tertium.runtime.relist import relist
from tertium.runtime.store import Store
from tests.factories import KEY, NOW, a_manifest, a_node, a_pod_manifest, at, seconds
from tests.fakes.cluster import FakeCluster


def version(manifest: dict[str, Any], number: int, **changes: Any) -> dict[str, Any]:
    return {**manifest, "metadata": {**manifest["metadata"], "resourceVersion": str(number)}, **changes}


def test_a_late_event_does_not_undo_what_is_known() -> None:
    store = Store()
    store.put(version(a_manifest(), 9, spec={"new": True}))
    store.put(version(a_manifest(), 8, spec={"old": True}))
    store.put(version(a_manifest(), 10, spec={"newest": True}))
    assert store.owners[KEY]["spec"] == {"newest": True}


def test_versions_are_numbers() -> None:
    store = Store()
    pod = a_pod_manifest()
    store.put(version(pod, 100, status={"phase": "Running"}))
    store.put(version(pod, 99, status={"phase": "Pending"}))
    assert store.children(KEY)[("Pod", "qwen-engine-1")]["status"] == {"phase": "Running"}


def test_the_end_of_an_object_does_not_remove_its_successor() -> None:
    store = Store()
    old, new = a_manifest(uid="uid-1"), a_manifest(uid="uid-2")
    store.put(old)
    store.put(new)
    assert store.drop(old) == ()
    assert store.owners[KEY]["metadata"]["uid"] == "uid-2"


def test_a_version_that_is_known_queues_nobody() -> None:
    store = Store()
    pod = a_pod_manifest()
    store.put(a_manifest())
    assert [store.put(version(pod, number)) for number in (7, 7, 6, 8)] == [(KEY,), (), (), (KEY,)]
    assert store.put(a_manifest()) == ()


def test_an_object_without_our_label_is_nobodys_child() -> None:
    store = Store()
    stranger = {"kind": "Pod", "metadata": {"name": "x", "namespace": "team-a", "uid": "1"}}
    assert (store.put(stranger), store.drop(stranger)) == ((), ())


def test_a_long_name_finds_its_children_by_the_cut_label() -> None:
    key = ObjectKey("team-a", "a" * 100)
    store = Store()
    store.put(a_manifest(key=key))
    assert store.put(a_pod_manifest(key=key)) == (key,)


async def test_a_list_drops_what_is_gone_and_keeps_what_is_younger() -> None:
    cluster, store = FakeCluster(), Store()
    cluster.put(a_node())
    cluster.put(a_manifest())
    cluster.put(a_pod_manifest("gone"))
    await relist(cluster, store)
    cluster.remove(POD, ObjectKey("team-a", "gone"))

    def young(verb: str, kind: str, name: str) -> None:
        if kind == "Pod":  # an event that arrives while the list is on its way
            store.put(a_pod_manifest("young"))

    cluster.fail = young
    await relist(cluster, store)
    assert [name for kind, name in store.children(KEY) if kind == "Pod"] == ["young"]
    assert [pool.product for pool in store.pools] == ["GPU-24GB"]


async def test_a_list_names_whom_the_watch_has_missed_something_of() -> None:
    cluster, store = FakeCluster(), Store()
    cluster.put(a_manifest())
    assert await missed(cluster, store) == [KEY]
    assert await missed(cluster, store) == []
    cluster.put(a_pod_manifest("missed"))
    assert await missed(cluster, store) == [KEY]
    cluster.remove(POD, ObjectKey("team-a", "missed"))
    assert await missed(cluster, store) == [KEY]


@pytest.mark.looptime
async def test_a_list_that_fails_is_read_again_and_what_came_before_it_is_told_of() -> None:
    cluster, store, tries = FakeCluster(), Store(), 0
    cluster.put(a_manifest())

    def twice(verb: str, kind: str, name: str) -> None:
        nonlocal tries
        if (verb, kind) == ("list", "Pod") and (tries := tries + 1) < 3:
            raise Retryable("list pods: timed out")

    cluster.fail = twice
    assert await missed(cluster, store) == [KEY]
    assert tries == 3


async def missed(cluster: FakeCluster, store: Store) -> list[ObjectKey]:
    found: list[ObjectKey] = []
    await relist(cluster, store, found.append)
    return found


def a_deployment(name: str, replicas: int, *, key: ObjectKey = KEY) -> dict[str, Any]:
    metadata = {"name": name, "namespace": key.namespace, "uid": name, "labels": names.labels(key, "engine")}
    return {"kind": "Deployment", "metadata": metadata, "spec": {"replicas": replicas}}


def test_replicas_of_any_revision_make_a_deployment_active() -> None:
    store = Store()
    store.put(a_manifest())
    store.put(a_deployment("qwen-engine-new", 0))
    assert store.active() == []
    store.put(a_deployment("qwen-engine-old", 1))
    assert store.active() == [KEY]


def test_a_new_leader_begins_with_who_is_waited_for_or_runs() -> None:
    store = Store()
    asleep, running, wanted, past = (ObjectKey("team-a", name) for name in ("a", "b", "c", "d"))
    for key in (asleep, running, wanted, past):
        store.put(a_manifest(key=key, uid=key.name))
    store.put(a_deployment("b-engine", 2, key=running))
    for key, stated in ((wanted, -14), (past, -16)):
        metadata = {
            "name": names.demand_lease(key),
            "namespace": key.namespace,
            "uid": f"lease-{key.name}",
            "labels": names.labels(key, "demand"),
            "annotations": {claim_key("gateway-1"): claim_text(NOW + seconds(stated), 15)},
        }
        store.put({"kind": "Lease", "metadata": metadata})
    assert store.pressing(NOW) == [running, wanted]


def planned(key: ObjectKey) -> dict[str, Any]:
    return {**a_manifest(key=key, uid=key.name), "status": {"plan": {"accelerator": "GPU-24GB"}}}


def test_other_gpus_queue_those_whom_they_may_help_and_nobody_at_rest() -> None:
    store = Store()
    asleep, unplanned, running = (ObjectKey("team-a", name) for name in ("a", "b", "c"))
    for manifest in (planned(asleep), a_manifest(key=unplanned, uid="b"), planned(running)):
        store.put(manifest)
    store.put(a_pod_manifest(key=running))
    assert store.put(a_node()) == [unplanned, running]
    assert [pool.product for pool in store.pools] == ["GPU-24GB"]
    assert store.drop(a_node()) == [unplanned, running]


def test_a_nodes_heartbeat_queues_nobody() -> None:
    store = Store()
    store.put(a_manifest())
    store.put(a_node())
    beat = {**a_node()["status"], "conditions": [{"type": "Ready", "lastHeartbeatTime": at(10)}]}
    assert store.put(version(a_node(), 2, status=beat)) == ()
    assert store.put(version(a_node(gpus=2), 3)) == [KEY]


def claim(name: str, created: float, served: str | None = None) -> dict[str, Any]:
    model = {"source": "pvc://models/qwen", **({"servedName": served} if served else {})}
    manifest = a_manifest({"model": model}, key=ObjectKey("team-a", name), uid=name)
    manifest["metadata"]["creationTimestamp"] = at(created)
    return manifest


def test_a_short_name_belongs_to_the_oldest_and_the_younger_is_told_when_it_is_free() -> None:
    store = Store()
    old, young = claim("llama", -60), claim("other", -30, served="llama")
    old_key, young_key = ObjectKey("team-a", "llama"), ObjectKey("team-a", "other")
    assert store.put(young) == (young_key,)
    assert store.put(old) == (old_key, young_key)
    assert (store.name_taken_by(young_key), store.name_taken_by(old_key)) == (old_key, None)
    assert store.drop(old) == (old_key, young_key)
    assert store.name_taken_by(young_key) is None


def test_a_short_name_is_free_once_its_deployment_is_being_deleted() -> None:
    store = Store()
    store.put(claim("llama", -60))
    store.put(claim("other", -30, served="llama"))
    going = version(claim("llama", -60), 9)
    going["metadata"]["deletionTimestamp"] = at(0)
    assert store.put(going) == (ObjectKey("team-a", "llama"), ObjectKey("team-a", "other"))
    assert store.name_taken_by(ObjectKey("team-a", "other")) is None


def test_of_two_short_names_of_one_age_the_first_key_wins_as_at_the_gateway() -> None:
    store = Store()
    for name in ("b", "a"):
        store.put(claim(name, -60, served="llama"))
    assert store.name_taken_by(ObjectKey("team-a", "b")) == ObjectKey("team-a", "a")
    assert store.name_taken_by(ObjectKey("team-a", "nobody")) is None

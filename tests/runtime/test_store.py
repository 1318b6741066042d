"""What the store keeps when events come late, twice, or not at all."""

from __future__ import annotations

from typing import Any

from tertium.api.meta import ObjectKey
from tertium.kube.cluster import POD
from tertium.runtime.relist import relist
from tertium.runtime.store import Store
from tests.factories import KEY, a_manifest, a_node, a_pod_manifest
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
    assert store.drop(old) == (KEY,)
    assert store.owners[KEY]["metadata"]["uid"] == "uid-2"


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

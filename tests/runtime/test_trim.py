"""What is left of an object in the store is all that anybody reads of it."""

from __future__ import annotations

from typing import Any

from tertium.core.lifecycle import EnginePod
from tertium.core.planner import gpu_pools
from tertium.runtime.trim import trim
from tests.factories import a_manifest, a_node, a_pod_manifest

CONTAINER = {
    "name": "engine",
    "image": "engine:1",
    "args": ["--model=/model"],
    "resources": {"limits": {"nvidia.com/gpu": "2"}},
}
UNREAD = {
    "env": [{"name": "A", "value": "1"}],
    "volumeMounts": [{"name": "model", "mountPath": "/model"}],
    "readinessProbe": {"httpGet": {"path": "/health"}},
    "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
}


def a_whole_pod() -> dict[str, Any]:
    pod = a_pod_manifest(status={"phase": "Running", "podIP": "10.0.0.1"})
    spec = {"nodeName": "node-1", "containers": [{**CONTAINER, **UNREAD}], "volumes": [{"name": "model"}]}
    return {**pod, "spec": spec}


def test_a_pod_loses_what_only_the_kubelet_reads() -> None:
    pod = trim(a_whole_pod())
    assert pod["spec"] == {"nodeName": "node-1", "containers": [CONTAINER]}
    assert pod["status"] == {"phase": "Running", "podIP": "10.0.0.1"}


def test_a_pod_is_read_as_before() -> None:
    assert EnginePod.parse(trim(a_whole_pod())) == EnginePod.parse(a_whole_pod())
    assert EnginePod.parse(a_whole_pod()).gpus == 2


def test_a_node_keeps_its_gpus_and_loses_its_heartbeat() -> None:
    node = a_node()
    node["status"] |= {"conditions": [{"type": "Ready"}], "images": [{"names": ["x"]}]}
    node["metadata"]["annotations"] = {"a": "b"}
    node["spec"] = {"podCIDR": "10.0.0.0/24", "unschedulable": False}
    kept = trim(node)
    assert gpu_pools([kept]) == gpu_pools([node]) != ()
    assert kept["status"] == {"allocatable": {"nvidia.com/gpu": "4"}}
    assert kept["spec"] == {"unschedulable": False}
    assert kept["metadata"].keys() == {"name", "uid", "resourceVersion", "labels"}


def test_who_wrote_which_field_is_dropped_from_everything() -> None:
    manifest = a_manifest()
    applied = "kubectl.kubernetes.io/last-applied-configuration"
    manifest["metadata"] |= {"managedFields": [{}], "annotations": {applied: "{}", "note": "kept"}}
    kept = trim(manifest)
    assert kept["metadata"]["annotations"] == {"note": "kept"}
    assert "managedFields" not in kept["metadata"]
    assert kept["spec"] == manifest["spec"]


def test_equal_words_are_one_object_and_what_is_kept_is_a_copy() -> None:
    one, other = (trim(a_pod_manifest("".join(["a", tail]))) for tail in ("b", "c"))
    assert (
        one["metadata"]["labels"]["tertium.dev/deployment"]
        is other["metadata"]["labels"]["tertium.dev/deployment"]
    )
    whole = a_whole_pod()
    kept = trim(whole)
    whole["status"]["phase"] = "Failed"
    assert kept["status"]["phase"] == "Running"

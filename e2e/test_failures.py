"""What a user is told when a model cannot start: by kubectl, and as a caller who waits for it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

import pytest
import yaml

from e2e.caller import Answer
from e2e.cluster import Cluster, backends
from e2e.doubles import applied, double
from e2e.stack import DOUBLE_IMAGE, ENGINE_IMAGE, Sample, Stack
from e2e.waiting import until

pytestmark = pytest.mark.e2e

TOO_LONG: Final = (
    "ValueError: To serve at least one request with the model's max seq len (512), (16.00 GiB KV cache "
    "is needed, which is larger than the available KV cache memory (2.52 GiB). Based on the available "
    "memory, the estimated maximum model length is 80. Try increasing `gpu_memory_utilization`."
)


@contextmanager
def asked_for(stack: Stack, name: str, namespace: str, **spec: Any) -> Iterator[Sample]:
    """A small model whose callers are not patient, for the length of a test."""
    more = {"coldStart": {"holdSeconds": 120}, "placementSeconds": 3, **spec}
    with applied(stack, name, namespace, **more) as sample:
        yield sample


def told(stack: Stack, sample: Sample) -> Answer:
    """What a caller of a model that cannot start is told."""
    answer = stack.caller_until_routed(sample.model)
    assert answer.status == 503, answer.body
    return answer


def says(sample: Sample, kind: str, reason: str, *words: str, seconds: float = 60) -> None:
    """Wait until a condition has a reason and holds all words."""

    def probe() -> bool:
        condition = sample.condition(kind)
        assert condition["reason"] == reason, condition
        for word in words:
            assert word in condition["message"], condition
        return True

    until(f"{sample.model}: {kind}, {reason}", probe, seconds=seconds)


def events(sample: Sample) -> list[tuple[str, str, str]]:
    """Type, reason and message of the events about a deployment, as `kubectl describe` lists them."""
    fields = f"involvedObject.name={sample.name},involvedObject.kind=LLMDeployment"
    text = sample.cluster.kubectl(
        *("-n", sample.namespace, "get", "events", "--field-selector", fields, "-o", "json")
    )
    return [(item["type"], item["reason"], item["message"]) for item in json.loads(text)["items"]]


@pytest.mark.parametrize(
    ("name", "spec", "words"),
    [
        pytest.param(
            "no-image",
            {"engine": {"image": "localhost/nothing:1"}},
            "ImagePullBackOff: the image 'localhost/nothing:1' cannot be pulled",
            id="an image that cannot be had",
        ),
        pytest.param(
            "too-long",
            {"engine": double(DOUBLE_FAULT=f"crash_on_boot={TOO_LONG}")},
            "The engine ended with exit code 1: One sequence of 512 tokens needs 16.00 GiB of KV cache, and "
            "2.52 GiB are left; it holds 80 tokens: lower spec.capacity.contextTokens",
            id="an engine that has not enough memory, with its numbers",
        ),
        pytest.param(
            "hanging",
            {"engine": {**double(DOUBLE_FAULT="hang_on_boot"), "startSeconds": 10}},
            "The engine did not answer /health within the 10 s of spec.engine.startSeconds",
            id="an engine that does not answer in time",
        ),
        pytest.param(
            "hungry",
            {"engine": {"image": ENGINE_IMAGE}, "template": {"resources": {"limits": {"memory": "96Mi"}}}},
            "The engine was killed (OOMKilled): it needs more main memory than its limit of 96Mi; raise "
            "spec.template.resources.limits.memory",
            id="an engine that is killed for its memory",
        ),
        pytest.param(
            "secretive",
            {
                "template": {
                    "volumes": [{"name": "token", "secret": {"secretName": "nobody-made-it"}}],
                    "volumeMounts": [{"name": "token", "mountPath": "/token"}],
                }
            },
            'FailedMount: MountVolume.SetUp failed for volume "token" : secret "nobody-made-it" not found',
            id="a Secret to be mounted that does not exist",
        ),
        pytest.param(
            "important",
            {"template": {"priorityClassName": "nobody-made-it"}},
            "no PriorityClass with name nobody-made-it was found",
            id="a priority class that does not exist",
        ),
    ],
)
def test_a_start_that_fails_is_told_to_everybody(
    stack: Stack, namespace: str, name: str, spec: dict[str, Any], words: str
) -> None:
    with asked_for(stack, name, namespace, **spec) as sample:
        answer = told(stack, sample)
        assert answer.seconds < 60
        assert f"cannot be started (StartFailed): {words}" in answer.error["message"] or words in str(
            answer.error
        )
        for kind in ("Progressing", "Active", "Ready", "Stalled"):
            says(sample, kind, "StartFailed", words)
        until("no pod holds a GPU", lambda: not sample.pods(terminating=True), seconds=60)
        found = until(
            "an event", lambda: [event for event in events(sample) if event[1] == "StartFailed"], seconds=10
        )
        assert found[0][0] == "Warning"
        assert words in found[0][2]
        again = stack.caller.chat(sample.model)
        assert (again.status, again.seconds < 2) == (503, True)
        assert words in again.error["message"]


def test_a_quota_is_told_to_everybody(stack: Stack, namespace: str) -> None:
    cluster = stack.cluster
    cluster.kubectl("-n", namespace, "create", "quota", "gpus", "--hard=requests.nvidia.com/gpu=0")
    try:
        with asked_for(stack, "over-quota", namespace) as sample:
            answer = told(stack, sample)
            assert "The API server refuses the engine's pod: forbidden: exceeded quota: gpus" in str(
                answer.error
            )
            says(sample, "Ready", "StartFailed", "exceeded quota: gpus")
    finally:
        cluster.kubectl("-n", namespace, "delete", "quota", "gpus")


def test_a_template_that_makes_no_pod_is_refused_with_its_field(stack: Stack, namespace: str) -> None:
    template = {"securityContext": {"runAsUser": "root"}}
    with asked_for(stack, "no-pod", namespace, template=template) as sample:
        assert "runAsUser" in told(stack, sample).error["message"]
        says(sample, "Accepted", "Invalid", "runAsUser")
        says(sample, "Stalled", "Invalid", "runAsUser")


def test_a_claim_that_does_not_exist_is_told_at_once_and_waited_for(stack: Stack, namespace: str) -> None:
    words = f"PersistentVolumeClaim {namespace}/no-claim of spec.model.source does not exist; create it"
    with asked_for(stack, "no-claim", namespace, model={"source": "pvc://no-claim/x"}) as sample:
        says(sample, "WeightsReady", "VolumeNotFound", words)
        says(sample, "Ready", "VolumeNotFound", words)
        answer = told(stack, sample)
        assert words in answer.error["message"]
        assert answer.seconds < 5


def blocker(namespace: str, node: str, gpus: int) -> dict[str, Any]:
    """A pod that takes GPUs of a node and does nothing."""
    container = {
        "name": "engine",
        "image": DOUBLE_IMAGE,
        "args": ["/models/none"],
        "resources": {"limits": {"nvidia.com/gpu": gpus}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"blocker-{node}", "namespace": namespace},
        "spec": {"nodeName": node, "terminationGracePeriodSeconds": 0, "containers": [container]},
    }


def gpu_nodes(cluster: Cluster) -> dict[str, tuple[str, int]]:
    """Product and number of GPUs of each node that has some."""
    found = {}
    for node in json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"]:
        count = int(node["status"]["allocatable"].get("nvidia.com/gpu", 0))
        if count:
            found[node["metadata"]["name"]] = (node["metadata"]["labels"]["nvidia.com/gpu.product"], count)
    return found


def test_gpus_that_are_taken_are_waited_for_with_their_number(stack: Stack, namespace: str) -> None:
    nodes = gpu_nodes(stack.cluster)
    pods = [blocker(namespace, node, count) for node, (_, count) in nodes.items()]
    stack.cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(pods))
    first, second = sorted({product for product, _ in nodes.values()}, reverse=True)[:2]
    spec = {
        "accelerators": [{"product": first}, {"product": second}],
        "coldStart": {"holdSeconds": 12},
    }
    try:
        with asked_for(stack, "waiting", namespace, **spec) as sample:
            sample.wait_condition("Planned", "True", seconds=60)
            with ThreadPoolExecutor() as pool:
                caller = pool.submit(stack.caller.chat, sample.model)
                words = f"A replica needs 1 free GPU of {second} on one node, and no node has so many free"
                says(sample, "Progressing", "WaitingForGPU", words, f"{first} could not be had either")
                assert sample.condition("Ready")["status"] == "True"
                assert ("Warning", "PlacedElsewhere") in {event[:2] for event in events(sample)}
                answer = caller.result()
            assert answer.status == 503
            assert "WaitingForGPU: A replica needs 1 free GPU of" in answer.error["message"]
    finally:
        names = [pod["metadata"]["name"] for pod in pods]
        stack.cluster.kubectl("-n", namespace, "delete", "pod", *names, "--wait=false")


def test_a_node_no_pod_may_use_is_told_in_the_schedulers_words(stack: Stack, namespace: str) -> None:
    template = {"nodeSelector": {"zone": "nowhere"}}
    spec = {"template": template, "coldStart": {"holdSeconds": 5}}
    with asked_for(stack, "nowhere", namespace, **spec) as sample:
        sample.wait_condition("Planned", "True", seconds=60)
        answer = told(stack, sample)
        assert "Unschedulable: No node takes a replica: " in answer.error["message"]
        assert "didn't match Pod's node affinity/selector" in answer.error["message"]


def test_a_suspended_deployment_refuses_its_callers_and_is_healthy(stack: Stack, namespace: str) -> None:
    with asked_for(stack, "suspended", namespace, suspend=True) as sample:
        says(sample, "Ready", "Suspended")
        assert sample.condition("Ready")["status"] == "True"
        assert "its `spec.suspend` is true" in told(stack, sample).error["message"]


def test_a_node_that_dies_loses_its_replica_to_another(stack: Stack, namespace: str) -> None:
    cluster = stack.cluster
    if backends.choose("auto", cluster.name).kind != "local":
        pytest.skip("only the local back end can be broken from here")
    first, second = sorted(gpu_nodes(cluster), key=lambda node: gpu_nodes(cluster)[node], reverse=True)[:2]
    products = [gpu_nodes(cluster)[node][0] for node in (first, second)]
    gone = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"}
    spec = {
        "accelerators": [{"product": product} for product in products],
        "scaling": {"minReplicas": 1},
        "template": {"tolerations": [{**gone, "tolerationSeconds": 1}]},
    }
    with asked_for(stack, "restless", namespace, **spec) as sample:
        sample.wait_condition("Active", "True", seconds=60)
        (pod,) = sample.pods()
        assert pod["spec"]["nodeName"] == first
        index = sorted(gpu_nodes(cluster)).index(first)
        cluster.faults.kill_kubelet(index)
        try:
            begun = time.monotonic()
            says(sample, "Progressing", "ScalingUp", f"A replica is lost: node {first}", seconds=150)
            answer = stack.caller.chat(sample.model)
            assert answer.status == 200
            assert time.monotonic() - begun < 180
            assert {pod["spec"]["nodeName"] for pod in sample.pods()} == {second}
        finally:
            cluster.faults.start_kubelet(index)

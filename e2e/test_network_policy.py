"""Whom a gateway pod lets in, where the network enforces policies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

import pytest

from e2e.cluster import Cluster, backends
from e2e.doubles import applied
from e2e.stack import SYSTEM, Sample, Stack
from e2e.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

PORTS: Final = {"http": 8080, "health": 9112, "reports": 9110, "admin": 9901}
STRANGER: Final = """
import json, socket, sys
def reached(port):
    try:
        socket.create_connection((sys.argv[1], port), timeout=3).close()
    except OSError:
        return False
    return True
print(json.dumps([port for port in map(int, sys.argv[2:]) if reached(port)]))
"""


@pytest.fixture(scope="module")
def ruled(cluster: Cluster, stack: Stack, namespace: str) -> Iterator[Stack]:
    """The stack on a network that has begun to enforce policies."""
    if backends.choose("auto", cluster.name).kind != "local":
        pytest.skip("whether another cluster enforces policies is up to its network")
    before = reached_by_strangers(stack, namespace)
    assert before == [[PORTS["http"], PORTS["health"], PORTS["reports"]]] * 2, "nothing is enforced yet"
    with cluster.policies_enforced():
        yield stack


def reached_by_strangers(stack: Stack, namespace: str) -> list[list[int]]:
    """Return the ports of each gateway pod that a pod of no importance can connect to."""
    addresses = [stack.pod_address(pod) for pod in stack.pods("gateway")]
    return [reached_by_a_stranger(stack, namespace, address) for address in addresses]


def reached_by_a_stranger(stack: Stack, namespace: str, address: str) -> list[int]:
    """Return the ports of an address that a pod of no importance can connect to."""
    kubectl = stack.cluster.kubectl
    operator = json.loads(kubectl("-n", SYSTEM, "get", "deployment", "tertium-operator", "-o", "json"))
    (container,) = operator["spec"]["template"]["spec"]["containers"]
    ports = [str(port) for port in PORTS.values()]
    run = ("run", "stranger", f"--image={container['image']}", "--image-pull-policy=Never", "--restart=Never")
    kubectl("-n", namespace, *run, "--command", "--", "python3", "-c", STRANGER, address, *ports)
    try:
        ended = ("--for=jsonpath={.status.phase}=Succeeded", "--timeout=90s")
        kubectl("-n", namespace, "wait", "pod/stranger", *ended)
        return [int(port) for port in json.loads(kubectl("-n", namespace, "logs", "stranger"))]
    finally:
        kubectl("-n", namespace, "delete", "pod", "stranger", "--wait")


def test_a_stranger_reaches_the_api_of_a_gateway_pod_and_nothing_else(ruled: Stack, namespace: str) -> None:
    def only_the_api() -> bool:
        reached = reached_by_strangers(ruled, namespace)
        assert reached == [[PORTS["http"]]] * 2, reached
        return True

    until("the policy", only_the_api, seconds=120, every=1)


def requests_of(sample: Sample) -> int:
    """Return how many requests the status tells of."""
    return int(sample.get()["status"].get("usage", {}).get("requests", 0))


def test_tertium_itself_is_not_locked_out(ruled: Stack, namespace: str) -> None:
    with applied(ruled, "ruled", namespace, scaling={"idleSeconds": 3}) as sample:
        assert ruled.caller_until_routed(sample.model).status == 200
        # That it was used and is idle now, the operator knows from the reports of both gateway pods.
        until("asleep again", lambda: sample.pods(terminating=True) == [], seconds=90)
        until("its request in the status", lambda: requests_of(sample) == 1, seconds=30)
    selector = ("-l", "app.kubernetes.io/component=gateway", "-o", "json")
    pods = json.loads(ruled.cluster.kubectl("-n", SYSTEM, "get", "pods", *selector))["items"]
    for pod in pods:
        ready = {one["type"]: one["status"] for one in pod["status"]["conditions"]}["Ready"]
        assert ready == "True", "the kubelet is let in"

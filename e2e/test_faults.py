"""The cluster breaks as it is told to, and mends: what tests of a bad day stand on. A cluster of its own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from e2e.cluster import Cluster, backends
from e2e.waiting import until

pytestmark = pytest.mark.e2e

NAME = "faults"


@pytest.fixture(scope="module")
def broken() -> Iterator[Cluster]:
    """A cluster of one node that nobody else uses."""
    if backends.choose("auto", NAME).kind != "local":
        pytest.skip("only the local back end can be broken from here")
    cluster = Cluster.up(NAME, nodes=1, quiet=True)
    yield cluster
    cluster.down(purge=True)


def node_is(cluster: Cluster, status: str) -> bool:
    (node,) = json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"]
    ready = {c["type"]: c["status"] for c in node["status"]["conditions"]}["Ready"]
    gpus = node["status"]["allocatable"]["nvidia.com/gpu"]
    return ready == status and (status != "True" or gpus == "4")


def test_a_killed_kubelet_comes_back_with_its_gpus(broken: Cluster) -> None:
    broken.faults.kill_kubelet(0)
    broken.faults.start_kubelet(0)
    until("the node with 4 GPUs", lambda: node_is(broken, "True"), seconds=60)


def test_a_frozen_kubelet_is_not_ready_until_it_thaws(broken: Cluster) -> None:
    broken.faults.freeze_kubelet(0)
    until("a node that is not Ready", lambda: node_is(broken, "Unknown"), seconds=60)
    broken.faults.thaw_kubelet(0)
    until("the node with 4 GPUs", lambda: node_is(broken, "True"), seconds=60)


def test_a_frozen_api_server_answers_nobody_until_it_thaws(broken: Cluster) -> None:
    broken.faults.freeze_api_server()
    try:
        with pytest.raises(subprocess.CalledProcessError):
            broken.kubectl("get", "--raw", "/readyz", "--request-timeout=2s")
    finally:
        broken.faults.thaw_api_server()
    until("an answer", lambda: broken.kubectl("get", "--raw", "/readyz") == "ok", seconds=30)

"""Which GPUs a replica gets: the first kind that can be had in time, and it stays there while it runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
import yaml

from e2e.doubles import applied
from e2e.stack import DOUBLE_IMAGE, Sample, Stack
from e2e.waiting import until

pytestmark = pytest.mark.e2e

PRODUCT_LABEL: Final = "nvidia.com/gpu.product"


def products(stack: Stack) -> list[tuple[str, int]]:
    """The GPU products of the cluster and how many GPUs their node has, the most memory first."""
    nodes = json.loads(stack.cluster.kubectl("get", "nodes", "-o", "json"))["items"]
    found = [
        (
            int(node["metadata"]["labels"]["nvidia.com/gpu.memory"]),
            node["metadata"]["labels"][PRODUCT_LABEL],
            int(node["status"]["allocatable"]["nvidia.com/gpu"]),
        )
        for node in nodes
        if PRODUCT_LABEL in node["metadata"]["labels"]
    ]
    return [(product, count) for _, product, count in sorted(found, reverse=True)]


@contextmanager
def taken(stack: Stack, namespace: str, product: str, count: int) -> Iterator[None]:
    """All GPUs of one product in somebody else's hands, for the length of a block."""
    container = {
        "name": "filler",
        "image": DOUBLE_IMAGE,
        "args": ["none", "--port", "8000"],
        "resources": {"limits": {"nvidia.com/gpu": str(count)}},
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "filler", "namespace": namespace},
        "spec": {
            "containers": [container],
            "nodeSelector": {PRODUCT_LABEL: product},
            "terminationGracePeriodSeconds": 0,
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        },
    }
    stack.cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump(pod))
    try:
        wait = ("--for=condition=PodScheduled", "pod/filler", "--timeout=30s")
        stack.cluster.kubectl("-n", namespace, "wait", *wait)
        yield
    finally:
        stack.cluster.kubectl("-n", namespace, "delete", "pod", "filler", "--wait")


@contextmanager
def one_of(stack: Stack, name: str, namespace: str, accelerators: list[str]) -> Iterator[Sample]:
    """A deployment that wants one replica on the first of `accelerators`, for the length of a test."""
    more: dict[str, Any] = {
        "accelerators": [{"product": product} for product in accelerators],
        "placementSeconds": 4,
        "replicas": 1,
        "rollout": {"drainSeconds": 5},
    }
    with applied(stack, name, namespace, **more) as sample:
        yield sample


def pin(sample: Sample, count: int) -> None:
    """Set the number of replicas as `kubectl scale` does, and wait until there are as many."""
    sample.cluster.kubectl("-n", sample.namespace, "scale", "llmd", sample.name, f"--replicas={count}")
    until(
        f"{count} replicas",
        lambda: (
            len(sample.pods(terminating=True)) == count and sample.get()["status"]["readyReplicas"] == count
        ),
        seconds=60,
    )


def where(sample: Sample) -> list[str]:
    """The GPU product of every replica."""
    return [pod["spec"]["nodeSelector"][PRODUCT_LABEL] for pod in sample.pods()]


def test_the_next_accelerator_is_taken_in_time_and_kept_while_it_runs(stack: Stack, namespace: str) -> None:
    (first, count), (second, _) = products(stack)[:2]
    with one_of(stack, "ordered", namespace, [first, second]) as sample:
        with taken(stack, namespace, first, count):
            sample.wait_condition("Active", "True", seconds=60)
            status: dict[str, Any] = sample.get()["status"]
            assert where(sample) == [second]
            assert status["plan"]["accelerator"] == second
            (given_up,) = status["placements"]
            assert (given_up["accelerator"], "Insufficient nvidia.com/gpu" in given_up["message"]) == (
                first,
                True,
            )
        pin(sample, 2)
        assert where(sample) == [second, second]
        assert stack.caller_until_routed(sample.model).status == 200


def test_without_a_choice_it_waits_and_says_for_what(stack: Stack, namespace: str) -> None:
    (first, count), *_ = products(stack)
    with one_of(stack, "waiting", namespace, [first]) as sample:
        with taken(stack, namespace, first, count):

            def waits() -> bool:
                condition = sample.condition("Progressing")
                assert condition["reason"] == "WaitingForGPU", condition
                return "placements" not in sample.get()["status"] or not sample.get()["status"]["placements"]

            until("it says so", waits, seconds=30)
        sample.wait_condition("Active", "True", seconds=60)
        assert where(sample) == [first]

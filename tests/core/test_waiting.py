"""What a replica waits for, in words that stay the same while it waits."""

from __future__ import annotations

from typing import Any

import pytest

from tertium.api.conditions import Reason
from tertium.api.v1alpha1 import Placement
from tertium.core import waiting
from tertium.core.planner import GpuPool
from tests.factories import POOL, a_pod, an_engine_set, at, observed

NO_GPU = "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient nvidia.com/gpu."
OTHER = (
    "0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, preemption: 0/2 nodes are "
    "available: 2 No preemption victims found for incoming pod."
)
PENDING: dict[str, Any] = {"unschedulable": True, "scheduled": None, "started": None, "gpus": 2}
GAVE_UP = Placement(accelerator="GPU-80GB", gave_up_at=at(-60), message="none free")
SPOT = Placement(accelerator="GPU-24GB", spot=True, gave_up_at=at(-60))


@pytest.mark.parametrize(
    ("words", "world", "placements", "reason", "message"),
    [
        pytest.param(
            NO_GPU,
            {},
            (),
            Reason.WAITING_FOR_GPU,
            "A replica needs 2 free GPUs of GPU-24GB on one node, and no node has so many free "
            "(the largest has 4)",
            id="how many GPUs of what are missing",
        ),
        pytest.param(
            NO_GPU,
            {},
            (GAVE_UP, SPOT),
            Reason.WAITING_FOR_GPU,
            "A replica needs 2 free GPUs of GPU-24GB on one node, and no node has so many free "
            "(the largest has 4); GPU-80GB could not be had either; GPU-24GB (spot) could not be had either",
            id="what was tried before",
        ),
        pytest.param(
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
            {"pools": ()},
            (),
            Reason.WAITING_FOR_GPU,
            "A replica needs 2 free GPUs of GPU-24GB on one node, and no node has any",
            id="a product whose nodes are gone",
        ),
        pytest.param(
            OTHER,
            {},
            (GAVE_UP,),
            Reason.UNSCHEDULABLE,
            "No node takes a replica: Insufficient cpu",
            id="another reason than GPUs",
        ),
    ],
)
def test_a_replica_without_a_node(
    words: str, world: dict[str, Any], placements: tuple[Placement, ...], reason: Reason, message: str
) -> None:
    pod = a_pod(waits_for=words, revision="r1", **PENDING)
    seen = observed(engines=(an_engine_set("r1"),), pods=(pod,), **world)
    assert waiting.for_a_node(pod, seen, placements) == (reason, message)


def test_several_replicas_without_a_node_are_counted() -> None:
    pods = [a_pod(f"pod-{number}", waits_for=NO_GPU, revision="r1", **PENDING) for number in range(3)]
    other = a_pod("other", waits_for=NO_GPU, revision="r0", **PENDING)
    pool = GpuPool(product="GPU-24GB", memory_mebibytes=24576, gpus_per_node=8)
    seen = observed(engines=(an_engine_set("r1"),), pods=(*pods, other), pools=(pool,))
    _, message = waiting.for_a_node(pods[0], seen, ())
    assert message == (
        "3 replicas need each 2 free GPUs of GPU-24GB on one node, and no node has so many free "
        "(the largest has 8)"
    )


@pytest.mark.parametrize(
    ("message", "reasons"),
    [
        pytest.param(
            NO_GPU, "Insufficient nvidia.com/gpu, had untolerated taint(s)", id="counts are left out"
        ),
        pytest.param(OTHER, "Insufficient cpu", id="and what is said of preemption"),
        pytest.param("waiting for the queue", "waiting for the queue", id="another scheduler's words stay"),
    ],
)
def test_the_schedulers_reasons(message: str, reasons: str) -> None:
    assert waiting.scheduler_reasons(message) == reasons


def test_more_nodes_of_the_same_kind_change_no_word() -> None:
    assert waiting.scheduler_reasons(NO_GPU) == waiting.scheduler_reasons(
        "0/4 nodes are available: 2 node(s) had untolerated taint(s), 2 Insufficient nvidia.com/gpu."
    )


@pytest.mark.parametrize(
    ("pods", "words"),
    [
        pytest.param((), "", id="no pod yet"),
        pytest.param((a_pod(),), "", id="one that starts as it should"),
        pytest.param((a_pod(waits_for="ErrImagePull: x"),), "ErrImagePull: x", id="the kubelet's words"),
        pytest.param(
            (a_pod("old", terminating=True, taken_by="A replica is lost"), a_pod()),
            "A replica is lost",
            id="why there is a new one at all",
        ),
        pytest.param(
            (a_pod(served=True),), "A replica no longer answers /health", id="one that answers no more"
        ),
    ],
)
def test_what_holds_a_replica_back(pods: tuple[Any, ...], words: str) -> None:
    assert waiting.held_back(observed(pods=pods)) == words


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        pytest.param(
            'Reading: 0/1 nodes are available: persistentvolumeclaim "models" not found.', True, id="missing"
        ),
        pytest.param(
            "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.",
            False,
            id="a claim that gets its volume in a moment",
        ),
        pytest.param('0/1 nodes are available: persistentvolumeclaim "x" not found.', False, id="another"),
        pytest.param(NO_GPU, False, id="no claim at all"),
    ],
)
def test_a_claim_that_is_missing(words: str, missing: bool) -> None:
    assert waiting.missing_claim("models", ["", words]) == missing


def test_the_pool_of_these_tests_is_the_one_their_revision_asks_for() -> None:
    assert an_engine_set("r1").accelerator == POOL.product

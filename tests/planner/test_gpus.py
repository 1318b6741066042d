"""GPU pools from node labels."""

from __future__ import annotations

from typing import Any

import pytest

from tertium.core.planner import GpuPool, gpu_pools


def node(
    *,
    product: str | None = "NVIDIA-L4",
    memory: str | None = "23034",
    gpus: str = "4",
    cordoned: bool = False,
) -> dict[str, Any]:
    labels = {"nvidia.com/gpu.product": product, "nvidia.com/gpu.memory": memory}
    return {
        "metadata": {"name": "n", "labels": {key: value for key, value in labels.items() if value}},
        "spec": {"unschedulable": True} if cordoned else {},
        "status": {"allocatable": {"cpu": "8", "nvidia.com/gpu": gpus}},
    }


L4 = GpuPool(product="NVIDIA-L4", memory_mebibytes=23034, gpus_per_node=4)


@pytest.mark.parametrize(
    ("nodes", "pools"),
    [
        pytest.param([], (), id="no nodes, no pools"),
        pytest.param([{"metadata": {"name": "cpu"}}], (), id="a node without GPUs does not count"),
        pytest.param([node()], (L4,), id="one node is one pool"),
        pytest.param([node(cordoned=True)], (), id="a cordoned node does not count"),
        pytest.param([node(gpus="0")], (), id="a node whose GPUs are gone does not count"),
        pytest.param([node(memory=None)], (), id="a node without the memory label does not count"),
        pytest.param([node(memory="24GB")], (), id="a memory label that is no number does not count"),
        pytest.param([node(gpus="2"), node(gpus="4")], (L4,), id="the largest node bounds a replica"),
        pytest.param(
            [node(memory="24000"), node()], (L4,), id="the smallest memory counts where nodes differ"
        ),
        pytest.param(
            [node(product="B", gpus="1"), node(product="A", gpus="1")],
            (
                GpuPool(product="A", memory_mebibytes=23034, gpus_per_node=1),
                GpuPool(product="B", memory_mebibytes=23034, gpus_per_node=1),
            ),
            id="pools come in the order of their names",
        ),
    ],
)
def test_pools(nodes: list[dict[str, Any]], pools: tuple[GpuPool, ...]) -> None:
    assert gpu_pools(nodes) == pools

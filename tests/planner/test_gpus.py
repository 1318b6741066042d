"""GPU pools from node labels, and what CUDA gives the engine of a GPU."""

from __future__ import annotations

from typing import Any

import pytest

from tertium.core.planner import GpuPool, cuda_mebibytes, gpu_pools, known_memory, known_products


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


L4 = GpuPool(product="NVIDIA-L4", memory_mebibytes=22528, gpus_per_node=4)
SLICED = {
    "metadata": {
        "name": "n",
        "labels": {
            "nvidia.com/mig-1g.10gb.product": "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb",
            "nvidia.com/mig-1g.10gb.memory": "9984",
        },
    },
    "status": {"allocatable": {"nvidia.com/mig-1g.10gb": "7", "nvidia.com/gpu": "0"}},
}
SLICE = GpuPool(
    product="NVIDIA-H100-80GB-HBM3-MIG-1g.10gb",
    memory_mebibytes=9685,
    gpus_per_node=1,
    resource="nvidia.com/mig-1g.10gb",
)


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
        pytest.param(
            [node(gpus="2"), node(gpus="4"), node(gpus="1")],
            (GpuPool(product="NVIDIA-L4", memory_mebibytes=22528, gpus_per_node=4, more_nodes=(2, 1)),),
            id="mixed nodes: the largest bounds a replica, the others are known",
        ),
        pytest.param(
            [node(memory="22000"), node()],
            (GpuPool(product="NVIDIA-L4", memory_mebibytes=21340, gpus_per_node=4, more_nodes=(4,)),),
            id="the smallest memory counts where nodes differ",
        ),
        pytest.param([SLICED], (SLICE,), id="a slice of the mixed strategy has its own resource"),
        pytest.param(
            [node(product="A100-SXM4-40GB-MIG-1g.5gb", memory="4864", gpus="7")],
            (GpuPool(product="A100-SXM4-40GB-MIG-1g.5gb", memory_mebibytes=4719, gpus_per_node=1),),
            id="slices have no collectives: one is all that a replica can use",
        ),
        pytest.param(
            [node(product="B", gpus="1"), node(product="A", gpus="1")],
            (
                GpuPool(product="A", memory_mebibytes=22343, gpus_per_node=1),
                GpuPool(product="B", memory_mebibytes=22343, gpus_per_node=1),
            ),
            id="pools come in the order of their names",
        ),
    ],
)
def test_pools(nodes: list[dict[str, Any]], pools: tuple[GpuPool, ...]) -> None:
    assert gpu_pools(nodes) == pools


@pytest.mark.parametrize(
    ("product", "label", "mebibytes"),
    [
        pytest.param("NVIDIA-H100-80GB-HBM3", 81559, 81090, id="an H100's total is in engine logs"),
        pytest.param("NVIDIA-A100-SXM4-80GB", 81920, 81152, id="so is an A100's"),
        pytest.param("NVIDIA-A100-SXM4-40GB", 40960, 40325, id="and the smaller one's"),
        pytest.param("NVIDIA-L4", 16384, 15893, id="a label that contradicts the table counts"),
        pytest.param("NVIDIA-NEW-GPU", 100_000, 99_230, id="of an unknown product the driver hides some"),
        pytest.param("Fake-GPU-2GB", 2048, 1987, id="of a small one a share"),
    ],
)
def test_what_cuda_gives(product: str, label: int, mebibytes: int) -> None:
    assert cuda_mebibytes(product, label) == mebibytes


@pytest.mark.parametrize(
    ("name", "mebibytes"),
    [
        pytest.param("H100", 81090, id="by its short name"),
        pytest.param("NVIDIA-H100-80GB-HBM3", 81090, id="by its label"),
        pytest.param("NVIDIA H100 NVL", 95252, id="a variant before the family"),
        pytest.param("rtx 3090", 24125, id="in any case"),
        pytest.param("A100-80GB", 81152, id="with its size"),
        pytest.param("NVIDIA-H100-80GB-HBM3-MIG-1g.10gb", None, id="a slice is not its GPU"),
        pytest.param("TPU", None, id="not every name"),
    ],
)
def test_known_products(name: str, mebibytes: int | None) -> None:
    assert known_memory(name) == mebibytes


def test_every_name_of_the_table_finds_itself() -> None:
    found = {name: known_memory(name) for name in known_products()}
    assert all(found.values())
    assert found["GB10"] == 124518


def test_nodes_for_a_shape() -> None:
    pool = GpuPool(product="x", memory_mebibytes=1, gpus_per_node=8, more_nodes=(8, 4))
    assert [pool.nodes_with(gpus) for gpus in (4, 8, 9)] == [3, 2, 0]
    assert [pool.nodes_needed(*shape) for shape in ((8, 1), (8, 2), (4, 2), (4, 3))] == [1, 2, 1, 3]

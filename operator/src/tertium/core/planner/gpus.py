"""The GPUs a cluster has, from the labels of NVIDIA's GPU feature discovery and what nodes can allocate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tertium.api.meta import Manifest

PRODUCT_LABEL: Final = "nvidia.com/gpu.product"
MEMORY_LABEL: Final = "nvidia.com/gpu.memory"
RESOURCE: Final = "nvidia.com/gpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuPool:
    """All GPUs of one product. Mixed nodes count with what each of them has."""

    product: str
    memory_mebibytes: int
    """Memory of one GPU as its label says; the smallest where nodes differ."""
    gpus_per_node: int
    """GPUs of the largest node."""


def gpu_pools(nodes: Sequence[Manifest]) -> tuple[GpuPool, ...]:
    """Return the pools of the nodes that can take pods, by product name; unlabelled nodes do not count."""
    pools: dict[str, GpuPool] = {}
    for node in nodes:
        pool = _pool(node)
        if pool is None:
            continue
        known = pools.get(pool.product, pool)
        pools[pool.product] = GpuPool(
            product=pool.product,
            memory_mebibytes=min(known.memory_mebibytes, pool.memory_mebibytes),
            gpus_per_node=max(known.gpus_per_node, pool.gpus_per_node),
        )
    return tuple(pools[product] for product in sorted(pools))


def _pool(node: Manifest) -> GpuPool | None:
    labels = node["metadata"].get("labels") or {}
    product = labels.get(PRODUCT_LABEL, "")
    memory = _count(labels.get(MEMORY_LABEL))
    gpus = _count(((node.get("status") or {}).get("allocatable") or {}).get(RESOURCE))
    if (node.get("spec") or {}).get("unschedulable") or not (product and memory and gpus):
        return None
    return GpuPool(product=product, memory_mebibytes=memory, gpus_per_node=gpus)


def _count(text: object) -> int:
    digits = str(text)
    return int(digits) if digits.isascii() and digits.isdigit() else 0

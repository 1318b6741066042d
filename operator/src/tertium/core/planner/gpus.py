"""The GPUs a cluster has, from the labels of NVIDIA's GPU feature discovery and what nodes can allocate.

A label states what nvidia-smi shows; CUDA gives the engine less. Both figures are kept apart here, so that
the rest of the planner knows the engine's only.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from tertium.api.meta import Manifest

PRODUCT_LABEL: Final = "nvidia.com/gpu.product"
MEMORY_LABEL: Final = "nvidia.com/gpu.memory"
RESOURCE: Final = "nvidia.com/gpu"

_SLICE: Final = re.compile(r"nvidia\.com/mig-(?P<profile>[0-9]+g\.[0-9]+gb(?:\.me)?)")
_IS_SLICE: Final = re.compile(r"-MIG-[0-9]")

# What torch reports as a device's total, in MiB, as engine logs show it; nvidia-smi shows up to 770 more.
_KNOWN: Final = (
    ("GB300", 283000), ("B300", 273408), ("GB200", 188416), ("B200", 182272), ("GH200-144GB", 143155),
    ("GH200", 96768), ("H200", 143155), ("H100-NVL", 95252), ("H100-64GB", 64900), ("H100", 81090),
    ("H800", 81090), ("H20-141GB", 143155), ("H20", 97280), ("A100-80GB", 81152), ("A100-SXM4-80GB", 81152),
    ("A100-PCIE-40GB", 40325), ("A100-SXM4-40GB", 40325), ("A100-40GB", 40325), ("A100", 40325),
    ("A800", 81152), ("RTX-PRO-6000", 97280), ("RTX-6000-ADA", 48500), ("RTX-A6000", 48500),
    ("RTX-5090", 32110), ("RTX-4090", 24080), ("RTX-3090", 24125), ("L40S", 45486), ("L40", 45486),
    ("A40", 45400), ("L4", 22528), ("A10G", 22528), ("A10", 22528), ("A30", 24060), ("T4", 14909),
    ("V100-SXM2-32GB", 32494), ("V100-32GB", 32494), ("V100", 16144), ("GB10", 124518),
    ("MI300X", 196290), ("MI325X", 261000),
)  # fmt: skip

# Where a product is not in the table: 450 to 770 MiB are hidden on large devices; the share bounds it on
# small ones, where it was not measured.
_HIDDEN: Final = 770
_HIDDEN_HUNDREDTHS: Final = 3
_SAME_DEVICE_HUNDREDTHS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuPool:
    """All GPUs of one product."""

    product: str
    memory_mebibytes: int
    """What CUDA gives the engine of one GPU; the smallest where nodes differ."""
    gpus_per_node: int
    """GPUs of the largest node that one replica can use; 1 for slices of a GPU, which have no collectives."""
    more_nodes: tuple[int, ...] = ()
    """GPUs of each of the other nodes."""
    resource: str = RESOURCE
    """What a pod asks for to get one."""

    @property
    def is_slice(self) -> bool:
        """Whether it is a part of a GPU."""
        return self.resource != RESOURCE or _IS_SLICE.search(self.product) is not None

    def nodes_with(self, gpus: int) -> int:
        """How many nodes have at least that many."""
        return sum(size >= gpus for size in (self.gpus_per_node, *self.more_nodes))

    def nodes_needed(self, tensor: int, pipeline: int) -> int:
        """How many nodes a shape spans: ranks of a stage stay together, and every node has as many stages."""
        stages = max(1, self.gpus_per_node // tensor)
        return next(
            nodes
            for nodes in range(1, pipeline + 1)
            if pipeline % nodes == 0 and (pipeline // nodes <= stages or nodes == pipeline)
        )


def gpu_pools(nodes: Sequence[Manifest]) -> tuple[GpuPool, ...]:
    """Return the pools of the nodes that can take pods, by product name; unlabelled nodes do not count."""
    found: defaultdict[str, list[GpuPool]] = defaultdict(list)
    for node in nodes:
        for pool in _pools(node):
            found[pool.product].append(pool)
    return tuple(_together(found[product]) for product in sorted(found))


def cuda_mebibytes(product: str, label_mebibytes: int) -> int:
    """Return what CUDA gives the engine of a GPU whose label, like nvidia-smi, shows this much."""
    known = known_memory(product)
    if known is not None and 0 <= label_mebibytes - known <= label_mebibytes * _SAME_DEVICE_HUNDREDTHS // 100:
        return known
    return label_mebibytes - min(_HIDDEN, label_mebibytes * _HIDDEN_HUNDREDTHS // 100)


def known_memory(product: str) -> int | None:
    """Return what CUDA gives the engine of a well-known product, or None; a slice has no entry."""
    name = re.sub(r"[^A-Z0-9]+", "-", product.upper())
    if _IS_SLICE.search(name):
        return None
    return next((memory for known, memory in _KNOWN if _names(known, name)), None)


def known_products() -> tuple[str, ...]:
    """Return the names of the table."""
    return tuple(name for name, _ in _KNOWN)


def _names(known: str, name: str) -> bool:
    parts = name.split("-")
    return all(part in parts for part in known.split("-"))


def _together(pools: Sequence[GpuPool]) -> GpuPool:
    sizes = sorted((pool.gpus_per_node for pool in pools), reverse=True)
    return GpuPool(
        product=pools[0].product,
        memory_mebibytes=min(pool.memory_mebibytes for pool in pools),
        gpus_per_node=sizes[0],
        more_nodes=tuple(sizes[1:]),
        resource=pools[0].resource,
    )


def _pools(node: Manifest) -> Iterator[GpuPool]:
    if (node.get("spec") or {}).get("unschedulable"):
        return
    labels = node["metadata"].get("labels") or {}
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    for resource, amount in sorted(allocatable.items()):
        sliced = _SLICE.fullmatch(resource)
        if resource != RESOURCE and sliced is None:
            continue
        # The mixed strategy labels every profile of slices by its resource.
        prefix = resource if sliced else "nvidia.com/gpu"
        product, memory = labels.get(f"{prefix}.product", ""), _count(labels.get(f"{prefix}.memory"))
        gpus = _count(amount)
        if product and memory and gpus:
            yield GpuPool(
                product=product,
                memory_mebibytes=cuda_mebibytes(product, memory),
                gpus_per_node=1 if sliced or _IS_SLICE.search(product) else gpus,
                more_nodes=(),
                resource=resource,
            )


def _count(text: object) -> int:
    digits = str(text)
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else 0

"""Minimum world size: from a model's facts and the cluster's GPUs to the fewest GPUs that hold one replica.

`size(facts, gpu_pools(nodes), spec)` is the whole of it: a `Sizing` with its flags and arithmetic, or a
`Refused` with the arithmetic and a counter-offer. Pure; knows nothing of pods or replicas.
"""

from tertium.core.planner.facts import ModelFacts
from tertium.core.planner.gpus import GpuPool, gpu_pools
from tertium.core.planner.search import Refused, Sizing, size

__all__ = ["GpuPool", "ModelFacts", "Refused", "Sizing", "gpu_pools", "size"]

"""Minimum world size: from a model's facts and the cluster's GPUs to the fewest GPUs that hold one replica.

`judge` answers for one shape, `search` finds the smallest that starts, `size` asks on behalf of an
LLMDeployment. Pure; knows nothing of pods or replicas.
"""

from tertium.core.planner.facts import ModelFacts
from tertium.core.planner.gpus import GpuPool, cuda_mebibytes, gpu_pools, known_memory, known_products
from tertium.core.planner.judge import judge
from tertium.core.planner.measured import Measured, Repair, drift_percent, measurement_key, repair_key
from tertium.core.planner.outcome import Candidate, Refused, Sizing
from tertium.core.planner.releases import DEFAULT_ENGINE_VERSION
from tertium.core.planner.request import KvCache, Request
from tertium.core.planner.search import search
from tertium.core.planner.sizing import request_of, size
from tertium.core.planner.tensors import TensorGroup
from tertium.core.planner.verdict import Label, Memory, Verdict

__all__ = [
    "DEFAULT_ENGINE_VERSION",
    "Candidate",
    "GpuPool",
    "KvCache",
    "Label",
    "Measured",
    "Memory",
    "ModelFacts",
    "Refused",
    "Repair",
    "Request",
    "Sizing",
    "TensorGroup",
    "Verdict",
    "cuda_mebibytes",
    "drift_percent",
    "gpu_pools",
    "judge",
    "known_memory",
    "known_products",
    "measurement_key",
    "repair_key",
    "request_of",
    "search",
    "size",
]

"""How other tools decide whether a model fits, restated, so that their verdicts stand beside the planner's.

Each formula is the tool's published rule for the question "does this shape hold the model", in GiB of 2^30.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

from e2e.bench.plan_rows import GIBIBYTE, Start

Rule = Callable[[Start], bool]


def dynamo(start: Start) -> bool:
    """NVIDIA Dynamo 1.6, profiler/utils/search_space_autogen.py: weights in 0.9 of the memory."""
    return start.gpus >= math.ceil(_weights(start) / 0.9 / _gpu(start))


def aiconfigurator(start: Start) -> bool:
    """aiconfigurator 0.12, generator/naive.py: a power of two of GPUs, more than 1.5 times the weights."""
    wanted = 1
    while wanted * _gpu(start) <= 1.5 * _weights(start):
        wanted *= 2
    return start.gpus >= wanted


def gpustack(start: Start) -> bool:
    """GPUStack 2.3, policies/utils.py: 1.2 times the weights and 2 GiB in 0.9 of the memory; heads divide."""
    shape = start.facts.shape
    divides = shape.heads % start.tensor == 0 and start.facts.vocabulary % start.tensor == 0
    return divides and 1.2 * _weights(start) + 2 <= 0.9 * _gpu(start) * start.gpus


def kaito(start: Start) -> bool:
    """KAITO, nodesestimator of 2026-08: 0.84 of the memory, flat 2.3 GiB, KV divided by a node's GPUs."""
    kv = _kv_per_token(start) * start.row.context_tokens / (start.row.gpus_per_node or 8)
    room = (0.84 * _gpu(start) - 2.3 - kv) / 1.05
    return room > 0 and start.gpus >= int(1.02 * _weights(start) / room) + 1


def llm_d(start: Start) -> bool:
    """llm-d planner, capacity_planner.py: constants for activation and NCCL; any room for KV will do."""
    activation = 8.0 if start.facts.feedforward.experts else 2.5 if start.facts.has_encoder else 5.6
    other = 0.15 if start.tensor == 1 else 0.6
    share = (start.row.gpu_memory_utilization or 0.9) * _gpu(start)
    return share - _weights(start) / start.gpus - activation / start.tensor - other > 0


def hf_mem(start: Start) -> bool:
    """hf-mem 0.5: weights and the KV cache of one full sequence in all the memory there is."""
    return _weights(start) + _kv_per_token(start) * start.row.context_tokens <= _gpu(start) * start.gpus


def vllm_wizard(start: Start) -> bool:
    """vllm-wizard, planning/memory.py: KV and 15 %, 2 % of the memory, 0.25 GiB a rank; 1 GiB is left."""
    memory = _gpu(start) * start.gpus
    kv = 1.15 * _kv_per_token(start) * start.row.context_tokens
    need = _weights(start) + kv + max(1.0, 0.02 * memory) + 0.25 * (start.tensor - 1)
    return 0.9 * memory - need >= 1


def recipes(start: Start) -> bool:
    """vLLM's recipes, vram_minimum_gb: 1.2 times the weights."""
    return 1.2 * _weights(start) <= _gpu(start) * start.gpus


PEERS: Final[Mapping[str, Rule]] = {
    "GPUStack": gpustack,
    "KAITO": kaito,
    "llm-d planner": llm_d,
    "aiconfigurator (naive)": aiconfigurator,
    "NVIDIA Dynamo": dynamo,
    "hf-mem": hf_mem,
    "vllm-wizard": vllm_wizard,
    "vLLM recipes": recipes,
}


def _weights(start: Start) -> float:
    return start.weight_bytes / GIBIBYTE


def _gpu(start: Start) -> float:
    return start.pool.memory_mebibytes / 1024


def _kv_per_token(start: Start) -> float:
    """GiB a token takes when every layer keeps every head in 16 bits, as these tools count."""
    shape = start.facts.shape
    return 4 * shape.layers * shape.kv_heads * shape.head_width / GIBIBYTE

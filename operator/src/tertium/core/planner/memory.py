"""Memory that one rank needs, by part. Integer arithmetic in bytes, rounded up to MiB part by part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tertium.api.v1alpha1 import Capacity
from tertium.core.planner import constants as c
from tertium.core.planner.facts import ModelFacts
from tertium.core.planner.gpus import GpuPool

MEBIBYTE: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """One GPU's memory under a plan, in MiB. `needed` must not exceed `budget`."""

    total: int
    budget: int
    weights: int
    overhead: int
    kv_cache: int

    @property
    def needed(self) -> int:
        """All parts together."""
        return self.weights + self.overhead + self.kv_cache

    @property
    def headroom(self) -> int:
        """What is left of the budget; negative where the plan does not fit."""
        return self.budget - self.needed


def memory(facts: ModelFacts, pool: GpuPool, tensor: int, capacity: Capacity) -> Memory:
    """Add up what each of `tensor` ranks needs to hold one sequence of `capacity.context_tokens`."""
    weights = weights_mebibytes(facts, tensor)
    sequences, batch = capacity.concurrent_sequences, batched_tokens(pool, capacity)
    return Memory(
        total=pool.memory_mebibytes,
        budget=budget_mebibytes(pool),
        weights=weights,
        overhead=(
            non_torch_mebibytes(pool, tensor)
            + activation_mebibytes(facts, tensor, sequences, batch)
            + graph_mebibytes(facts, sequences)
            + margin_mebibytes(pool, weights)
        ),
        kv_cache=_mebibytes(kv_bytes(facts, tensor, capacity.context_tokens)),
    )


def budget_mebibytes(pool: GpuPool) -> int:
    """What the engine may use of one GPU."""
    total = pool.memory_mebibytes
    hidden = min(c.DRIVER_RESERVE_MEBIBYTES, total * c.DRIVER_RESERVE_HUNDREDTHS // 100)
    return (total - hidden) * c.UTILIZATION_HUNDREDTHS // 100


def batched_tokens(pool: GpuPool, capacity: Capacity) -> int:
    """Tokens of one forward pass (`--max-num-batched-tokens`); it holds one of every sequence at least."""
    large = pool.memory_mebibytes >= c.LARGE_GPU_MEBIBYTES
    return max(c.BATCHED_TOKENS_LARGE_GPU if large else c.BATCHED_TOKENS, capacity.concurrent_sequences)


def weights_mebibytes(facts: ModelFacts, tensor: int) -> int:
    """Weights of one rank; the KV projections are copied where there are more ranks than KV heads."""
    if tensor == 1:
        return _mebibytes(facts.weight_bytes)
    share = facts.weight_bytes * c.SPLIT_WEIGHTS_HUNDREDTHS // (100 * tensor)
    if facts.latent_bytes_per_token or tensor <= facts.kv_heads:
        return _mebibytes(share)
    projections = facts.layers * 2 * facts.hidden * facts.kv_heads * facts.head_dim * c.KV_ELEMENT_BYTES
    return _mebibytes(share + projections // facts.kv_heads - projections // tensor)


def kv_bytes(facts: ModelFacts, tensor: int, tokens: int) -> int:
    """KV cache of one sequence on one rank, in whole blocks and with the null block the engine keeps.

    Every layer counts as full attention: an upper bound for models with sliding windows.
    """
    blocks = -(-tokens // c.KV_BLOCK_TOKENS) + 1
    return blocks * c.KV_BLOCK_TOKENS * kv_bytes_per_token(facts, tensor)


def kv_bytes_per_token(facts: ModelFacts, tensor: int) -> int:
    """KV cache of one token on one rank. A latent is not split; a KV head is held by one rank at least."""
    if facts.latent_bytes_per_token:
        return facts.layers * facts.latent_bytes_per_token
    heads = max(1, facts.kv_heads // tensor)
    return facts.layers * heads * 2 * facts.head_dim * c.KV_ELEMENT_BYTES


def non_torch_mebibytes(pool: GpuPool, tensor: int) -> int:
    """Memory outside the allocator: kernels, and where there is more than one GPU, buffers of collectives."""
    if tensor == 1:
        return c.NON_TORCH_ALONE
    name = pool.product.upper()
    slow = any(mark in name for mark in c.SLOW_LINK_MARKS)
    fast = any(product in name for product in c.FAST_LINK_PRODUCTS)
    return c.NON_TORCH_FAST_LINK if fast and not slow else c.NON_TORCH_SLOW_LINK


def activation_mebibytes(facts: ModelFacts, tensor: int, sequences: int, batch: int) -> int:
    """Peak of the profiling run: the sampler over all sequences or a forward pass, whichever is larger."""
    sampler = c.SAMPLER_COPIES * min(sequences, batch) * facts.vocabulary * 4
    forward = batch * (2 * facts.intermediate // tensor + 4 * facts.hidden) * 2
    special = facts.mixture_of_experts or facts.latent_bytes_per_token
    return _mebibytes(max(sampler, forward)) + (c.ACTIVATION_EXPERTS if special else c.ACTIVATION_DENSE)


def graph_mebibytes(facts: ModelFacts, sequences: int) -> int:
    """CUDA graphs of the batch sizes that the engine captures for this many sequences."""
    special = facts.mixture_of_experts or facts.latent_bytes_per_token
    full = c.GRAPHS_BASE + c.GRAPHS_PER_LAYER * facts.layers + (c.GRAPHS_EXPERTS if special else 0)
    full = min(max(full, c.GRAPHS_LEAST), c.GRAPHS_MOST)
    return full // 4 + full * 3 * _graph_sizes(sequences) // (4 * c.GRAPH_SIZES_MOST)


def margin_mebibytes(pool: GpuPool, weights: int) -> int:
    """What the arithmetic may be wrong by."""
    device = min(c.MARGIN_MEBIBYTES, pool.memory_mebibytes * c.MARGIN_DEVICE_HUNDREDTHS // 100)
    return max(device, weights * c.MARGIN_WEIGHTS_HUNDREDTHS // 100)


def _graph_sizes(sequences: int) -> int:
    """Number of captured batch sizes: 1, 2, 4, then steps of 8 to 256, then steps of 16."""
    largest = min(2 * sequences, c.GRAPH_BATCH_MOST)
    return (
        sum(size <= largest for size in (1, 2, 4))
        + len(range(8, min(largest + 1, 256), 8))
        + len(range(256, largest + 1, 16))
    )


def _mebibytes(size_bytes: int) -> int:
    return -(-size_bytes // MEBIBYTE)

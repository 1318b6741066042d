"""Memory of a rank besides weights and KV cache: the profiling run's peak, kernels, graphs, and the slack.

Each term is one that the engine allocates: what the sampler holds of all sequences over the vocabulary, what
the forward pass holds of all batched tokens, the workspaces of fused experts and of latent attention. The
constants and where they were seen are in `releases`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tertium.core.planner import releases as r
from tertium.core.planner.facts import ModelFacts
from tertium.core.planner.gpus import GpuPool
from tertium.core.planner.request import KvCache

MEBIBYTE: Final = 1 << 20
_LATENT_WORKSPACE_TOKENS: Final = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How the engine runs one shape: every default resolved."""

    release: r.Release
    tensor: int
    pipeline: int
    context_tokens: int
    sequences: int
    batched_tokens: int
    utilization_hundredths: int
    kv_cache: KvCache
    enforce_eager: bool
    largest_graph: int | None


def element_bytes(facts: ModelFacts, run: Run) -> int:
    """Bytes of an element of keys and values; `auto` is what the checkpoint wants, where that is read."""
    wants_8_bits = run.kv_cache != "bfloat16" and facts.quantization.fp8_cache
    return 1 if run.kv_cache == "fp8" or (wants_8_bits and run.release.reads_cache_format) else 2


def activation_mebibytes(facts: ModelFacts, run: Run, *, samples: bool) -> int:
    """Peak of the profiling run on one stage; only the last one samples."""
    batch, hidden = run.batched_tokens, facts.shape.hidden
    widths = 3
    if not run.release.chunked_prefill and run.context_tokens < r.PREFILL_AT_ONCE_TOKENS:
        batch, widths = max(batch, run.context_tokens), 2
    width = max(facts.feedforward.dense, facts.feedforward.shared) // run.tensor
    forward = 2 * batch * (widths * width + 4 * hidden)
    sampled = min(run.sequences, run.batched_tokens) * facts.vocabulary * 4
    peak = max(forward, sampled * run.release.sampler_tenths // 10 + 4 * batch * hidden)
    if not (samples and facts.generates):
        peak = forward
    between = 4 * batch * hidden if run.pipeline > 1 else 0
    parts = mebibytes(peak + between + _experts(facts, run, batch) + _latent(facts, run))
    encoder = r.ENCODER if facts.has_encoder else 0
    return parts + encoder + (r.SPARSE_ATTENTION if facts.is_sparse else 0) + r.ACTIVATION_FIXED


def non_torch_mebibytes(pool: GpuPool, run: Run) -> int:
    """Memory outside the allocator: kernels, and where ranks share layers, buffers of collectives."""
    if run.tensor > 1:
        return run.release.non_torch_fast_link if has_fast_link(pool.product) else r.NON_TORCH_SLOW_LINK
    return r.NON_TORCH_PIPELINE if run.pipeline > 1 else run.release.non_torch_alone


def graph_mebibytes(facts: ModelFacts, run: Run) -> int:
    """CUDA graphs of the batch sizes that the engine captures for this many sequences."""
    if run.enforce_eager:
        return 0
    special = facts.feedforward.experts or facts.latent_bytes
    layers = -(-facts.shape.layers // run.pipeline)
    full = r.GRAPHS_BASE + r.GRAPHS_PER_LAYER * layers + (r.GRAPHS_EXPERTS if special else 0)
    full = min(max(full, r.GRAPHS_LEAST), r.GRAPHS_MOST)
    return full // 4 + full * 3 * graph_sizes(run) // (4 * r.GRAPH_SIZES_MOST)


def graph_sizes(run: Run) -> int:
    """Number of captured batch sizes: 1, 2, 4, then steps of 8 to 256, then steps of 16."""
    largest = min(2 * run.sequences, r.GRAPH_BATCH_MOST)
    if run.largest_graph is not None:
        largest = min(largest, run.largest_graph)
    return (
        sum(size <= largest for size in (1, 2, 4))
        + len(range(8, min(largest + 1, 256), 8))
        + len(range(256, largest + 1, 16))
    )


def slack_shortage_mebibytes(facts: ModelFacts, pool: GpuPool, run: Run) -> int:
    """What the memory outside the budget lacks for the CUDA context and what else lives there; 0: nothing.

    Collectives exist before the engine measures. Until 0.20 so do the graphs, and a sampler that sorts takes
    two more copies when it is warmed up.
    """
    slack = pool.memory_mebibytes * (100 - run.utilization_hundredths) // 100
    need = r.CONTEXT_ALONE
    if run.tensor > 1:
        need = r.CONTEXT_FAST_LINK if has_fast_link(pool.product) else r.CONTEXT_SLOW_LINK
    if not run.release.graphs_in_budget:
        need += graph_mebibytes(facts, run)
    if run.release.sampler_tenths > r.RELEASES[-1].sampler_tenths:
        need += mebibytes(2 * run.sequences * facts.vocabulary * 4)
    share = pool.memory_mebibytes * r.CONTEXT_DEVICE_HUNDREDTHS // 100
    return max(0, min(need, share) - slack)


def margin_mebibytes(facts: ModelFacts, pool: GpuPool, weights: int) -> int:
    """What the arithmetic may be wrong by."""
    device = min(r.MARGIN, pool.memory_mebibytes * r.MARGIN_DEVICE_HUNDREDTHS // 100)
    share = r.MARGIN_UNVERIFIED_HUNDREDTHS if facts.unverified else r.MARGIN_WEIGHTS_HUNDREDTHS
    return max(device, weights * share // 100)


def has_fast_link(product: str) -> bool:
    """Whether ranks on this product talk over NVLink of Hopper or later."""
    name = product.upper()
    slow = any(mark in name for mark in r.SLOW_LINK_MARKS)
    return not slow and any(known in name for known in r.FAST_LINK_PRODUCTS)


def is_hopper(product: str) -> bool:
    """Whether a product is of NVIDIA's Hopper generation."""
    return any(known in product.upper() for known in r.HOPPER_PRODUCTS)


def mebibytes(size_bytes: int) -> int:
    """Round bytes up to MiB."""
    return -(-size_bytes // MEBIBYTE)


def _experts(facts: ModelFacts, run: Run, batch: int) -> int:
    """Workspace of fused experts: every token once for each of its experts. MXFP4 kernels keep none."""
    wide = facts.feedforward
    if facts.quantization.scheme == "mxfp4":
        return 0
    width = -(-wide.expert // run.tensor)
    return 2 * batch * wide.per_token * (2 * width + wide.expert_input) if wide.experts else 0


def _latent(facts: ModelFacts, run: Run) -> int:
    """Workspace of chunked prefill under latent attention: cached latents of many tokens at once."""
    fewest = 4 * run.sequences * r.KV_BLOCK_TOKENS
    tokens = min(max(8 * run.context_tokens, fewest), _LATENT_WORKSPACE_TOKENS)
    return tokens * facts.latent_bytes

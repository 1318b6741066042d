"""What the engine takes besides weights and KV cache, as data, by release of vLLM. Sizes in MiB.

Each figure names its source. "Logs" are published start-up logs of vLLM 0.6 to 0.19 on A100, H100, H200 and
L40S; "source" is vLLM's own code at 0.32. A figure that is neither says that it is reasoned.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

DEFAULT_ENGINE_VERSION: Final = "0.32.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The constants of a release and of those after it, up to the next one listed."""

    since: tuple[int, int]
    utilization_hundredths: int
    """Default of `--gpu-memory-utilization`. Source: 0.92 since 0.20, 0.90 before."""
    sampler_tenths: int
    """Peak of the profiling run's sampler, in tenths of sequences x vocabulary x 4 bytes. Logs: 9.4 while it
    sorts (to 0.16), 3.5 since; what the forward pass keeps beside it is counted apart."""
    non_torch_alone: int
    """Outside the allocator on a single GPU. Logs: 0.13 GiB to 0.17, 0.24 to 0.27 since 0.18."""
    non_torch_fast_link: int
    """The same per GPU with collectives over NVLink. Logs: 0.55 GiB to 0.16, 2.06 to 2.21 in 0.19."""
    graphs_in_budget: bool
    """Since 0.21 an estimate of the CUDA graphs is taken from the budget; before, they live in the slack."""
    in_flight: int
    """Batches whose tokens a window must still hold, with one stage. Source: asynchronous scheduling, 2."""
    states_per_sequence: int
    """State blocks of one sequence in models with recurrent layers. Source: 2 with prefix caching, which
    such models have by default in 0.32; 1 before."""
    chunked_prefill: bool
    """Before 0.8 a prompt shorter than 32 Ki tokens was prefilled at once."""
    sequences_large: int
    """Default of `--max-num-seqs` on large GPUs. Source: 1024; 256 before 0.9."""
    strict_expert_blocks: bool
    """Block-quantized FP8 experts must divide into whole blocks. Source: refined or padded in 0.32."""
    reads_cache_format: bool
    """Whether a checkpoint that wants its KV cache in 8 bits gets it. Source: pull request 29980, in 0.14."""
    has_graph_flag: bool
    """Whether `--max-cudagraph-capture-size` is an argument."""
    in_tree: frozenset[str]
    """Quantization methods that later releases dropped."""


_0_0: Final = Release(
    since=(0, 0),
    utilization_hundredths=90,
    sampler_tenths=94,
    non_torch_alone=358,  # Logs: 0.35 GiB on an RTX 3090.
    non_torch_fast_link=563,
    graphs_in_budget=False,
    in_flight=1,
    states_per_sequence=1,
    chunked_prefill=False,
    sequences_large=256,
    strict_expert_blocks=True,
    reads_cache_format=False,
    has_graph_flag=False,
    in_tree=frozenset({"bitsandbytes", "gguf"}),
)
_0_8: Final = replace(_0_0, since=(0, 8), non_torch_alone=133, chunked_prefill=True, sequences_large=1024)
_0_14: Final = replace(_0_8, since=(0, 14), reads_cache_format=True)
_0_17: Final = replace(
    _0_14,
    since=(0, 17),
    sampler_tenths=35,
    non_torch_alone=272,
    non_torch_fast_link=2222,
    in_flight=2,
    has_graph_flag=True,
)
_0_20: Final = replace(_0_17, since=(0, 20), utilization_hundredths=92)
_0_21: Final = replace(_0_20, since=(0, 21), graphs_in_budget=True)
_0_32: Final = replace(
    _0_21, since=(0, 32), states_per_sequence=2, strict_expert_blocks=False, in_tree=frozenset()
)
RELEASES: Final = (_0_0, _0_8, _0_14, _0_17, _0_20, _0_21, _0_32)

# --- the same in every release ---------------------------------------------------------------------------

NON_TORCH_SLOW_LINK: Final = 717
"""Collectives over PCIe and on GPUs before Hopper. Logs: 0.2 to 0.7 GiB."""
NON_TORCH_PIPELINE: Final = 102
"""A pipeline without tensor parallelism. Logs: 0.07 GiB."""
FAST_LINK_PRODUCTS: Final = ("H100", "H200", "H20", "H800", "GH200", "B100", "B200", "B300", "GB200", "GB300")
SLOW_LINK_MARKS: Final = ("PCIE",)
HOPPER_PRODUCTS: Final = ("H100", "H200", "H20", "H800", "GH200")

ACTIVATION_FIXED: Final = 51
"""What the allocator rounds up and small buffers. Logs: 0.05 GiB after the terms that are counted."""
ENCODER: Final = 307
"""A vision or audio encoder at its largest item, beside the language model. Logs: 0.15 to 0.3 GiB."""
SPARSE_ATTENTION: Final = 4096
"""Workspaces of sparse latent attention. Logs: 6.9 to 7.1 GiB of overhead with it, all parts together."""

# CUDA graphs. Logs: 0.5 to 1.9 GiB on H100 and A100 with every size, growing with depth. All sizes share one
# pool, so fewer of them save less than their share; that they save three quarters at most is reasoned.
GRAPHS_BASE: Final = 512
GRAPHS_PER_LAYER: Final = 15
GRAPHS_EXPERTS: Final = 512
GRAPHS_LEAST: Final = 614
GRAPHS_MOST: Final = 2048
GRAPH_SIZES_MOST: Final = 51
GRAPH_BATCH_MOST: Final = 512

# What lives beside the budget: the CUDA context, and buffers of collectives that exist before the engine
# measures. Logs, H100: 0.51 GiB alone, 2.05 GiB at four ranks. On a small device it is bounded by a share,
# which is reasoned: contexts there were not measured.
CONTEXT_ALONE: Final = 563
CONTEXT_FAST_LINK: Final = 2099
CONTEXT_SLOW_LINK: Final = 1126
CONTEXT_DEVICE_HUNDREDTHS: Final = 7

# Defaults of the scheduler by GPU memory; an A100 keeps the small ones. Source.
BATCHED_TOKENS: Final = 2048
BATCHED_TOKENS_LARGE: Final = 8192
BATCHED_TOKENS_LARGEST: Final = 16384
SEQUENCES: Final = 256
LARGE_GPU: Final = 70 * 1024
LARGEST_GPU: Final = 160 * 1024
PREFILL_AT_ONCE_TOKENS: Final = 32768

MOST_CONTEXT_TOKENS: Final = 16_777_216
VOCABULARY_PADDING: Final = 64
"""The vocabulary is padded to a multiple of this before it is split. Source."""
KV_BLOCK_TOKENS: Final = 16
LATENT_BLOCK_TOKENS: Final = 64
RECURRENT_LATENT_BLOCK_TOKENS: Final = 128
"""Blocks of latent attention beside recurrent layers are whole multiples of this. Source."""
SMALLEST_EXPERT_BLOCK: Final = 32
"""Blocks of FP8 experts may be refined down to this. Source: `refine_fp8_moe_block_shape`."""

# Residual error of this arithmetic against logs: within 0.5 GiB. It grows with the model; on a small device
# it is bounded by a share. Where the architecture is unknown the bound is an upper one and the margin wide.
MARGIN: Final = 512
MARGIN_DEVICE_HUNDREDTHS: Final = 5
MARGIN_WEIGHTS_HUNDREDTHS: Final = 1
MARGIN_UNVERIFIED_HUNDREDTHS: Final = 5

_VERSION: Final = re.compile(r"v?(\d{1,6})\.(\d{1,6})")


def releases_of(version: str) -> tuple[Release, ...]:
    """Return the constants for a version such as `0.19.0` or `v0.21.1rc2`; where it is none, all of them.

    An engine of unknown version takes a shape when any release does: rules come and go, and nobody runs a
    shape that his engine refuses. Memory it may need as much as any release that takes the shape: a start
    that fails costs more than a GPU too many.
    """
    number = version_number(version)
    if number is None:
        return RELEASES
    return (next(release for release in reversed(RELEASES) if release.since <= number),)


def version_number(version: str) -> tuple[int, int] | None:
    """Return major and minor of a version, or None where it is none."""
    match = _VERSION.match(version)
    return None if match is None else (int(match[1]), int(match[2]))

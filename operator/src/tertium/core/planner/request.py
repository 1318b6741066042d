"""What a replica must hold and how the engine is to be run: the question that the planner answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from tertium.core.planner.releases import DEFAULT_ENGINE_VERSION

KvCache: TypeAlias = Literal["auto", "bfloat16", "fp8IfNeeded", "fp8"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Where a field is None the engine's own default for its version and the GPU is taken, and emitted."""

    context_tokens: int
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    utilization_hundredths: int | None = None
    kv_cache: KvCache = "auto"
    """`auto` is as the checkpoint wants it; `bfloat16` are 16 bits in any case; `fp8IfNeeded` lets the search
    store the KV cache in 8 bits before it takes another GPU."""
    enforce_eager: bool = False
    largest_graph: int | None = None
    """Most sequences a captured CUDA graph serves; None: the engine's default, twice the sequences."""
    tensor: int | None = None
    pipeline: int | None = None
    engine_version: str = DEFAULT_ENGINE_VERSION
    nodes: int = 1
    """Most nodes that one replica may span."""
    keep_seqs: bool = False
    """Whether the search must not run fewer sequences than `max_num_seqs`."""
    least_gpus: int = 1
    """Smaller shapes are not tried: the engine did not start on them."""

"""Weights of one rank: which tensors are split over ranks, which are copied, which are not loaded at all.

Sources: vLLM 0.32, `model_executor/layers/linear.py`, `vocab_parallel_embedding.py`, `layers/mla.py`,
`fused_moe/`, `models/utils.py` and `distributed/utils.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from tertium.core.planner.tensors import Layers, TensorGroup


class Split(Enum):
    """How a weight is laid out over the ranks of a stage."""

    SHARDED = "sharded"
    REPLICATED = "replicated"
    KEY_VALUE = "key and value"
    EXPERT = "expert"
    ENCODER = "encoder"


class Stage(Enum):
    """Which stages of a pipeline hold what belongs to no layer."""

    FIRST = "first"
    LAST = "last"
    ENDS = "first and last"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Weights of one layout: `size_bytes` in each of `layers`, or where there are none, once per stage."""

    split: Split
    size_bytes: int
    layers: Layers = ()
    stage: Stage = Stage.FIRST


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What the layout of the weights depends on besides the tensors."""

    layers: int
    heads: int
    kv_heads: int
    tied: bool
    halved: bool
    """Weights are stored in FP32, and the engine loads them in 16 bits."""
    encoder_heads: int
    hidden: int
    expert_width: int
    """Width of an expert where its weights are padded, as MXFP4 is; 0: they are not."""


_LAYER: Final = re.compile(r"(?:^|\.)(?:layers|h|blocks|block|layer)\.\{\}\.")
_ENCODER: Final = re.compile(
    r"(?:^|\.)(?:visual|vision\w*|\w*_tower|audio\w*|multi_modal_projector|mm_projector|img_processor|"
    r"vit|aligner|image_newline|connector|embed_vision|embed_audio|mlp1)(?:\.|$)"
)
_SKIPPED: Final = re.compile(r"(?:^|\.)(?:mtp|nextn|eagle\w*)(?:\.|_|$)|rotary_emb\.inv_freq|masked_bias")
_EMBEDDING: Final = re.compile(
    r"(?:embed_tokens|tok_embeddings|word_embeddings|wte|embed_in|token_embd|embeddings?)(?:\.weight)?$"
)
_HEAD: Final = re.compile(r"(?:^|\.)(?:lm_head|embed_out|output|output_layer|head)\.weight")
_KEY_VALUE: Final = re.compile(r"\.(?:k_proj|v_proj|wk|wv|key|value)\.")
_FUSED: Final = re.compile(r"\.(?:qkv_proj|query_key_value|c_attn|Wqkv|wqkv|W_pack|qkv)\.")
_REPLICATED: Final = re.compile(
    r"norm|q_a_proj|kv_a_proj|wq_a|wkv\b|\bindexer\b|index_[qk]|\.(?:gate|router|shared_expert_gate)\.|"
    r"e_score|\bhc_|attn_hc|ffn_hc|compressor|wpe|position_embeddings|token_type"
)


def parts_of(groups: Iterable[TensorGroup], layout: Layout) -> tuple[Part, ...]:
    """Return the parts that the engine loads; layers beyond the model's own are skipped: they draft."""
    return tuple(part for group in groups for part in _parts(group, layout))


def is_head(group: TensorGroup) -> bool:
    """Whether a tensor is the output head."""
    return not group.layers and _HEAD.search(group.pattern) is not None


def stage_bytes(
    parts: Sequence[Part], layout: Layout, tensor: int, pipeline: int, *, hopper: bool = False
) -> tuple[int, ...]:
    """Return the bytes of one rank of every stage. `hopper`: whether its GPUs are of that generation."""
    ends = stage_ends(layout.layers, pipeline)
    starts = (0, *ends[:-1])
    shares = {split: _share_millionths(split, layout, tensor, hopper=hopper) for split in Split}
    return tuple(
        sum(_of_rank(part, layout, shares[part.split], first, end) for part in parts)
        for first, end in zip(starts, ends, strict=True)
    )


def padded_millionths(hidden: int, width: int, *, hopper: bool) -> int:
    """Return what MXFP4 experts of this width take on a rank, in millionths of what they hold.

    On most GPUs the width is rounded up to 128 and the input to 256. On Hopper the rows of a matrix are
    rounded up to 256 and its columns to 128, each matrix for itself. Sources: vLLM 0.32,
    `mxfp4_round_up_hidden_size_and_intermediate_size`; Triton, `layout_details/hopper_value.py`. Logs of
    gpt-oss-120b: 65.97 GiB by the first rule and 17.22 at 4 ranks, 64.38 by the second.
    """
    if not hopper:
        return -(-1_000_000 * _up(width, 128) * _up(hidden, 256) // (width * hidden))
    even = _up(width, 64)
    gate_and_up = _up(2 * even, 256) * _up(hidden, 128)
    down = _up(hidden, 256) * _up(even, 128)
    return -(-1_000_000 * (gate_and_up + down) // (3 * width * hidden))


def stage_ends(layers: int, pipeline: int) -> tuple[int, ...]:
    """Return where each stage ends. What does not divide goes to the stages before the last, from behind.

    With two stages the first gets it. Source: `get_pp_indices`.
    """
    sizes = [layers // pipeline] * pipeline
    for index in range(layers % pipeline):
        sizes[-(index + 2) % pipeline] += 1
    return tuple(sum(sizes[: index + 1]) for index in range(pipeline))


def _parts(group: TensorGroup, layout: Layout) -> Iterable[Part]:
    name = group.pattern
    if _SKIPPED.search(name):
        return
    halves = layout.halved and group.dtype == "F32" and len(group.shape) > 1
    each = group.one_bytes * group.copies // (2 if halves else 1)
    if _ENCODER.search(name):
        count = group.total_bytes // max(1, group.one_bytes * group.copies)
        yield Part(split=Split.ENCODER, size_bytes=each * count)
    elif group.layers and _LAYER.search(name):
        layers = _below(group.layers, layout.layers)
        if layers:
            yield from _in_layers(name, group, each, layers, layout)
    else:
        yield from _outside(name, each * group.total_bytes // max(1, group.one_bytes * group.copies), layout)


def _in_layers(name: str, group: TensorGroup, each: int, layers: Layers, layout: Layout) -> Iterable[Part]:
    if ".experts." in name:
        yield Part(split=Split.EXPERT, size_bytes=each, layers=layers)
    elif _REPLICATED.search(name) or len(group.shape) < 2:
        yield Part(split=Split.REPLICATED, size_bytes=each, layers=layers)
    elif _KEY_VALUE.search(name):
        yield Part(split=Split.KEY_VALUE, size_bytes=each, layers=layers)
    elif _FUSED.search(name):
        shared = each * 2 * layout.kv_heads // (layout.heads + 2 * layout.kv_heads)
        yield Part(split=Split.KEY_VALUE, size_bytes=shared, layers=layers)
        yield Part(split=Split.SHARDED, size_bytes=each - shared, layers=layers)
    else:
        yield Part(split=Split.SHARDED, size_bytes=each, layers=layers)


def _outside(name: str, size_bytes: int, layout: Layout) -> Iterable[Part]:
    if _HEAD.search(name):
        if not layout.tied:
            yield Part(split=Split.SHARDED, size_bytes=size_bytes, stage=Stage.LAST)
    elif _EMBEDDING.search(name) and not _REPLICATED.search(name):
        stage = Stage.ENDS if layout.tied else Stage.FIRST
        yield Part(split=Split.SHARDED, size_bytes=size_bytes, stage=stage)
    else:
        yield Part(split=Split.REPLICATED, size_bytes=size_bytes, stage=Stage.ALL)


def _below(layers: Layers, end: int) -> Layers:
    return tuple((first, min(last, end - 1)) for first, last in layers if first < end)


def _of_rank(part: Part, layout: Layout, share_millionths: int, first: int, end: int) -> int:
    if part.layers:
        count = sum(max(0, min(last + 1, end) - max(start, first)) for start, last in part.layers)
    else:
        at_start, at_end = first == 0, end == layout.layers
        count = {
            Stage.FIRST: at_start,
            Stage.LAST: at_end,
            Stage.ENDS: at_start or at_end,
            Stage.ALL: True,
        }[part.stage]
    if not count:
        return 0
    return part.size_bytes * count * share_millionths // 1_000_000


def _up(size: int, step: int) -> int:
    return -(-size // step) * step


def _share_millionths(split: Split, layout: Layout, tensor: int, *, hopper: bool) -> int:
    """Share of a rank in millionths, rounded up."""
    match split:
        case Split.REPLICATED:
            return 1_000_000
        case Split.KEY_VALUE:
            return -(-1_000_000 // min(tensor, max(1, layout.kv_heads)))
        case Split.ENCODER if layout.encoder_heads % tensor:
            return 1_000_000
        case Split.EXPERT if layout.expert_width:
            width = -(-layout.expert_width // tensor)
            return -(-padded_millionths(layout.hidden, width, hopper=hopper) * width // layout.expert_width)
        case _:
            return -(-1_000_000 // tensor)

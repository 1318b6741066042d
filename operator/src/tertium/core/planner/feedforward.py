"""The feed-forward part of a model: how wide it is, and which layers have experts.

Source: the spellings of `model_executor/models/` in vLLM 0.32. Knows nothing of attention.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tertium.core.planner.config import Config

_EXPERTS: Final = ("num_experts", "moe_num_experts", "n_routed_experts", "num_local_experts")
_PER_TOKEN: Final = (
    "num_experts_per_tok", "num_experts_per_token", "experts_per_token", "top_k_experts", "moe_topk",
    "moe_top_k", "moe_k",
)  # fmt: skip
_DENSE: Final = ("intermediate_size_mlp", "dense_intermediate_size", "intermediate_size", "n_inner",
                 "ff_intermediate_size", "ffn_hidden_size", "ffn_dim")  # fmt: skip
_UNGATED_TYPES: Final = frozenset(
    {"gpt2", "gptj", "gpt_bigcode", "gpt_neox", "opt", "bloom", "falcon", "phi", "starcoder2", "nemotron",
     "nemotron_h", "bert", "roberta", "xlm-roberta", "stablelm_epoch", "apertus"}
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedForward:
    """Widths of one model's feed-forward layers, before they are split."""

    dense: int
    """Width of a dense layer; 0 where no layer is dense."""
    experts: int
    """Routed experts of a layer; 0 or 1: there are none."""
    per_token: int
    expert: int
    """Width of one routed expert."""
    shared: int
    """Width of what every token passes beside the routed experts."""
    expert_input: int
    """Width of what enters a routed expert."""
    matrices: int
    """3 where a gate multiplies the projection, else 2."""
    expert_layers: frozenset[int]
    dense_layers: frozenset[int]


def feedforward_of(config: Config, layers: int, hidden: int) -> FeedForward:
    """Read it. Raises Terminal, naming the field, for a number out of bounds."""
    kind = config.text("model_type")
    experts = config.size(*_EXPERTS, default=0)
    dense = config.size(*_DENSE, default=0)
    expert_layers = _expert_layers(config, layers) if experts > 1 else frozenset()
    dense_layers = frozenset(range(layers)) - expert_layers
    if pattern := config.text("hybrid_override_pattern"):
        expert_layers = frozenset(n for n, letter in enumerate(pattern[:layers]) if letter == "E")
        dense_layers = frozenset(n for n, letter in enumerate(pattern[:layers]) if letter == "-")
    types = config.texts("layers_block_type")
    if "moe" in types or "mlp" in types:
        expert_layers = frozenset(n for n, one in enumerate(types[:layers]) if one == "moe")
        dense_layers = frozenset(n for n, one in enumerate(types[:layers]) if one == "mlp")
    if config.flag("enable_moe_block"):
        dense_layers = frozenset(range(layers))
    if kind in ("mamba", "mamba2", "falcon_mamba"):
        dense_layers = frozenset()
    expert = config.size("moe_intermediate_size", "expert_ffn_hidden_size", default=0)
    return FeedForward(
        dense=_doubled(config, kind, dense or 4 * hidden) if dense_layers else 0,
        experts=experts if expert_layers else 0,
        per_token=config.size(*_PER_TOKEN, default=1) if expert_layers else 0,
        expert=(expert or config.size("intermediate_size", default=4 * hidden)) if expert_layers else 0,
        shared=_shared(config, kind, expert) if expert_layers else 0,
        expert_input=config.size("moe_latent_size", "routed_expert_hidden_size", default=hidden),
        matrices=2 if kind in _UNGATED_TYPES else 3,
        expert_layers=expert_layers,
        dense_layers=dense_layers,
    )


def _doubled(config: Config, kind: str, dense: int) -> int:
    """Qwen 1 states both halves of its gated projection as one width."""
    return dense // 2 if kind == "qwen" else dense


def _shared(config: Config, kind: str, expert: int) -> int:
    own = config.size(
        "shared_expert_intermediate_size",
        "moe_shared_expert_intermediate_size",
        "share_expert_dim",
        default=0,
    ) or config.size("shared_intermediate_size", default=0)
    if own:
        return own
    if kind.startswith("llama4"):
        return config.size("intermediate_size", default=0)
    return config.size("n_shared_experts", "num_shared_experts", "moe_num_shared_experts", default=0) * expert


def _expert_layers(config: Config, layers: int) -> frozenset[int]:
    numbers = range(layers)
    if listed := config.numbers("moe_layer_freq"):
        return frozenset(n for n in numbers if n < len(listed) and listed[n])
    if named := config.numbers("moe_layers"):
        return frozenset(n for n in numbers if n in named)
    if "expert_layer_period" in config:
        period, offset = config.size("expert_layer_period", default=1), config.get("expert_layer_offset") or 0
        return frozenset(n for n in numbers if n % period == offset)
    if "interleave_moe_layer_step" in config:
        step = config.size("interleave_moe_layer_step", default=1)
        return frozenset(n for n in numbers if (n + 1) % step == 0)
    first = config.get("first_k_dense_replace", "moe_layer_start_index") or 0
    step = config.size("moe_layer_freq", "decoder_sparse_step", default=1)
    dense = frozenset(config.numbers("mlp_only_layers"))
    if "decoder_sparse_step" in config:
        return frozenset(n for n in numbers if n not in dense and (n + 1) % step == 0)
    return frozenset(n for n in numbers if n >= first and n % step == 0 and n not in dense)

"""What the planner must know of a model, read from its config.json and the size of its weights.

Configs differ in spelling: the names of a field are tried in order, and the text part of a multimodal model
is followed first. What cannot be sized is refused by name; nothing is guessed from the architecture's name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tertium.api.conditions import Reason
from tertium.core.errors import Terminal

_TEXT_PARTS: Final = ("text_config", "llm_config", "language_config", "thinker_config")

_LAYERS: Final = ("num_hidden_layers", "n_layer", "num_layers")
_HIDDEN: Final = ("hidden_size", "n_embd", "d_model")
_HEADS: Final = ("num_attention_heads", "n_head", "num_heads")
_KV_HEADS: Final = ("num_key_value_heads", "num_kv_heads", "multi_query_group_num")
_HEAD_DIM: Final = ("head_dim", "attention_head_dim", "kv_channels")
_INTERMEDIATE: Final = ("intermediate_size", "n_inner", "ffn_hidden_size")
_POSITIONS: Final = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
_EXPERTS: Final = ("num_local_experts", "num_experts", "n_routed_experts")

# Fields that announce layers whose state is no KV cache (state-space, linear attention).
_RECURRENT: Final = (
    "linear_num_value_heads",
    "linear_attn_config",
    "hybrid_override_pattern",
    "mamba_num_heads",
    "mamba_n_heads",
    "mamba_d_state",
    "ssm_state_size",
    "state_size",
)
# Rotary scalings whose max_position_embeddings is the scaled length already.
_SCALED_ALREADY: Final = frozenset(
    {"su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """The geometry of a decoder and the size of its weights."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    """Width of the widest feed-forward layer that is split over ranks."""
    vocabulary: int
    max_positions: int | None
    """Longest sequence the engine accepts for this model, in tokens; None: the config does not limit it."""
    latent_bytes_per_token: int
    """KV bytes of one token and layer under multi-head latent attention; 0 for ordinary attention."""
    mixture_of_experts: bool
    weight_bytes: int
    """Bytes the weights take once loaded on one GPU."""
    revision: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, facts: Mapping[str, Any] | str) -> ModelFacts:
        """Read the facts an inspection found: `{"config": {...}, "weightBytes": N, ...}`, or its JSON text.

        Raises Terminal, naming the field, when something is missing or this planner cannot size it.
        """
        document = json.loads(facts) if isinstance(facts, str) else facts
        config = text_part(document["config"])
        _refuse_unsizable(config)
        layers = _need(config, _LAYERS)
        heads = _need(config, _HEADS)
        hidden = _need(config, _HIDDEN)
        return cls(
            layers=layers,
            hidden=hidden,
            heads=heads,
            kv_heads=_find(config, _KV_HEADS) or heads,
            head_dim=_find(config, _HEAD_DIM) or hidden // heads,
            intermediate=_find(config, _INTERMEDIATE) or 4 * hidden,
            vocabulary=_need(config, ("vocab_size",)),
            max_positions=_max_positions(config),
            latent_bytes_per_token=_latent_bytes(config),
            mixture_of_experts=(_find(config, _EXPERTS) or 0) > 1,
            weight_bytes=_loaded_bytes(config, document["weightBytes"]),
            revision=str(document.get("revision") or ""),
            digest=str(document.get("digest") or ""),
        )


def text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the language model's part of a config; nested parts inherit `model_type` and the dtype."""
    for name in _TEXT_PARTS:
        nested = config.get(name)
        if isinstance(nested, Mapping):
            inherited = {key: config[key] for key in ("model_type", "torch_dtype", "dtype") if key in config}
            return text_part({**inherited, **nested})
    return config


def _find(config: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def _need(config: Mapping[str, Any], names: tuple[str, ...]) -> int:
    value = _find(config, names)
    if value is None:
        spellings = " or ".join(names)
        raise _unsizable(f"{spellings} is missing; the planner needs it as a whole number")
    return value


def _refuse_unsizable(config: Mapping[str, Any]) -> None:
    for name in _RECURRENT:
        if config.get(name):
            raise _unsizable(
                f"{name} is set: models with state-space or linear-attention layers are not supported yet"
            )
    if config.get("is_encoder_decoder"):
        raise _unsizable("is_encoder_decoder is true; only decoder models are supported")


def _unsizable(what: str) -> Terminal:
    return Terminal(Reason.INSPECTION_FAILED, f"cannot size the model from its config.json: {what}")


def _max_positions(config: Mapping[str, Any]) -> int | None:
    positions = _find(config, _POSITIONS)
    if positions is None:
        return None
    scaling = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = scaling.get("rope_type") or scaling.get("type")
    factor = scaling.get("factor")
    if isinstance(factor, int | float) and kind not in _SCALED_ALREADY:
        positions = int(positions * factor)
    return max(positions, _find(config, ("model_max_length",)) or 0)


def _latent_bytes(config: Mapping[str, Any]) -> int:
    rank = _find(config, ("kv_lora_rank",))
    if rank is None:
        return 0
    latent = 2 * (rank + _need(config, ("qk_rope_head_dim",)))
    # A sparse-attention indexer keeps its keys in FP8 with a 4-byte scale beside the latent.
    return latent + _need(config, ("index_head_dim",)) + 4 if _find(config, ("index_topk",)) else latent


def _loaded_bytes(config: Mapping[str, Any], stored: int) -> int:
    # The engine's default loads float32 checkpoints in 16 bits.
    dtype = str(config.get("dtype") or config.get("torch_dtype") or "")
    return stored // 2 if dtype.removeprefix("torch.") == "float32" else stored

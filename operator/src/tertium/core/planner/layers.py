"""Which caches each layer of a model keeps, read from its config: the one place that knows model families.

Sources: vLLM 0.32, `model_executor/models/` and `transformers_utils/model_arch_config_convertor.py`. Rules go
by the fields that announce a kind of layer; the first that applies answers. A layer of an unknown kind counts
as full attention, which is an upper bound, and the architecture is reported as unverified.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tertium.core.planner.caches import Attention, Cache, Latent
from tertium.core.planner.config import Config, unsizable
from tertium.core.planner.geometry import Geometry, Layer, padded
from tertium.core.planner.recurrent import gated_delta, hybrid_layers, mamba2, short_convolution

LATENT_TYPES: Final = frozenset(
    {
        "axk1", "deepseek_v2", "deepseek_v3", "deepseek_v32", "glm_moe_dsa", "glm4_moe_lite", "kimi_k2",
        "kimi_k25", "kimi_linear", "kimi_k3", "longcat_flash", "mistral4", "pangu_ultra_moe", "sarvam_mla",
    }
)  # fmt: skip
"""Types for which the engine keeps the latent; others expand it to ordinary heads."""

_INDEX_SCALE_BYTES: Final = 4
_FP32: Final = 4
_FULL: Final = frozenset({"full_attention", "attention", "global_attention", "hybrid"})
_SLIDING: Final = frozenset({"sliding_attention", "local_attention", "sliding_window_attention"})
_LINEAR: Final = frozenset({"linear_attention", "mamba", "mamba2", "conv"})


def layers_of(config: Config, shape: Geometry) -> tuple[tuple[Layer, ...], str]:
    """Return the caches of every layer, and why they are not certain (empty: they are)."""
    if "compress_ratios" in config:
        return _compressed(config, shape), "the padding of its compressed caches is bounded, not computed"
    found = hybrid_layers(config, shape, _full(config, shape)) or _attending(config, shape)
    return (found, "") if found else _typed(config, shape, config.text("model_type"))


def _attending(config: Config, shape: Geometry) -> tuple[Layer, ...]:
    """Families whose layers all attend, in a way of their own; nothing for any other."""
    kind = config.text("model_type")
    if config.get("kv_lora_rank"):
        return _latent(config, shape, kept=kind in LATENT_TYPES)
    if "block_configs" in config:
        return _heterogeneous(config, shape)
    if "hybrid_layer_pattern" in config:
        return _two_kinds_of_heads(config, shape)
    if kind.startswith("llama4"):
        return _chunked(config, shape)
    return _indexed(config, shape) if "sparse_attention_config" in config else ()


def _full(config: Config, shape: Geometry) -> Cache:
    """What a layer of full attention keeps beside recurrent ones."""
    if config.get("kv_lora_rank"):
        rope = config.size("qk_rope_head_dim", default=0)
        return Latent(width=config.need("kv_lora_rank") + rope)
    return _plain(shape)


def _plain(shape: Geometry) -> Attention:
    return Attention(heads=shape.kv_heads, key_width=shape.head_width, value_width=shape.head_width)


def _latent(config: Config, shape: Geometry, *, kept: bool) -> tuple[Layer, ...]:
    rank, rope = config.need("kv_lora_rank"), config.size("qk_rope_head_dim", default=0)
    if not kept:
        width = config.size("qk_nope_head_dim", default=0) + rope or shape.head_width
        return ((Attention(heads=shape.heads, key_width=width, value_width=width),),) * shape.layers
    # A sparse-attention indexer keeps its keys in FP8 with a scale beside the latent.
    if not config.get("index_topk"):
        return ((Latent(width=rank + rope),),) * shape.layers
    index = config.need("index_head_dim") + _INDEX_SCALE_BYTES
    # In 8 bits the latent carries a scale per 32 values, and its rotated part stays in 16.
    packed = rank + rank // 32 + 2 * rope
    return ((Latent(width=rank + rope, fixed=index, packed=packed),),) * shape.layers


def _compressed(config: Config, shape: Geometry) -> tuple[Layer, ...]:
    """DeepSeek V4: a window in every layer, one vector per `ratio` tokens, keys of an indexer where it is 4.

    584 bytes hold a vector of 512 in mixed precision; the compressor's own state is a short window in FP32.
    """
    width = config.need("head_dim")
    vector, window = width + width // 8 + 8, config.size("sliding_window", default=128)
    index = config.size("index_head_dim", default=128) + _INDEX_SCALE_BYTES

    def layer(ratio: int) -> Layer:
        caches = [Latent(width=0, fixed=vector, window=window)]
        if ratio > 1:
            overlap = 2 if ratio == 4 else 1
            caches.append(Latent(width=0, fixed=vector, stride=ratio))
            caches.append(Latent(width=0, fixed=2 * overlap * width * _FP32, window=max(1, overlap * ratio)))
        if ratio == 4:
            caches.append(Latent(width=0, fixed=index, stride=ratio))
        return tuple(caches)

    ratios = config.numbers("compress_ratios")[: shape.layers]
    return tuple(layer(ratio) for ratio in padded(ratios, shape.layers, 1))


def _heterogeneous(config: Config, shape: Geometry) -> tuple[Layer, ...]:
    """Every layer says for itself how many query heads share a KV head, or that it has no attention."""

    def layer(block: Config) -> Layer:
        attention = block.part("attention")
        if attention.flag("no_op") or attention.flag("replace_with_linear"):
            return ()
        group = attention.get("n_heads_in_group")
        heads = attention.get("num_key_value_heads") or (shape.heads // group if group else shape.kv_heads)
        return (Attention(heads=max(1, heads), key_width=shape.head_width, value_width=shape.head_width),)

    blocks = config.parts("block_configs")
    if len(blocks) != shape.layers:
        raise unsizable(f"block_configs has {len(blocks)} entries, expected {shape.layers}: one per layer")
    return tuple(layer(block) for block in blocks)


def _two_kinds_of_heads(config: Config, shape: Geometry) -> tuple[Layer, ...]:
    """MiMo V2: windowed layers have their own heads, and values are narrower than keys."""
    full = Attention(
        heads=shape.kv_heads,
        key_width=shape.head_width,
        value_width=config.size("v_head_dim", default=shape.head_width),
    )
    local = Attention(
        heads=config.size("swa_num_key_value_heads", default=shape.kv_heads),
        key_width=config.size("swa_head_dim", default=shape.head_width),
        value_width=config.size("swa_v_head_dim", "v_head_dim", default=shape.head_width),
        window=config.size("sliding_window", "sliding_window_size", default=0),
    )
    windowed = config.numbers("hybrid_layer_pattern")
    return tuple((local,) if one else (full,) for one in padded(windowed, shape.layers, 0))


def _chunked(config: Config, shape: Geometry) -> tuple[Layer, ...]:
    """Llama 4: layers with rotary positions attend within chunks, every fourth attends to everything."""
    chunk = config.size("attention_chunk_size", default=0)
    rotary = config.numbers("no_rope_layers")
    every = config.size("no_rope_layer_interval", default=4)
    full = _plain(shape)
    local = Attention(heads=full.heads, key_width=full.key_width, value_width=full.value_width, chunk=chunk)
    has_rope = rotary if len(rotary) == shape.layers else [(n + 1) % every for n in range(shape.layers)]
    return tuple((local,) if one and chunk else (full,) for one in has_rope)


def _indexed(config: Config, shape: Geometry) -> tuple[Layer, ...]:
    """MiniMax M3: ordinary attention, and in sparse layers one more key per token for the index."""
    sparse = config.part("sparse_attention_config")
    index = Latent(width=sparse.size("sparse_index_dim", default=128), quantized=False)
    full = _plain(shape)
    where = sparse.numbers("sparse_attention_freq") or config.numbers("moe_layer_freq")
    return tuple((full, index) if one else (full,) for one in padded(where, shape.layers, 1))


def _typed(config: Config, shape: Geometry, kind: str) -> tuple[tuple[Layer, ...], str]:
    """Layers by `layer_types` or by the rule of the family where older configs leave them out."""
    full: Layer = (_plain(shape),)
    window = config.get("sliding_window", "sliding_window_size") or 0
    if config.get("linear_num_value_heads"):
        linear: Layer = (gated_delta(config),)
    elif config.get("mamba_n_heads", "mamba_num_heads"):
        linear = (mamba2(config),)
    elif config.get("conv_L_cache"):
        linear = (short_convolution(config, shape),)
    else:
        linear = ()
    windowed: Layer = (_windowed(config, shape, kind, window),)
    types = config.texts("layer_types") or config.texts("layers_block_type")
    if not types:
        types = tuple(_types_by_family(config, shape, kind, has_linear=bool(linear), window=window))
    types = padded(types, shape.layers, "full_attention")
    wide = (_global(config, shape),)
    own = tuple(
        linear
        if one in _LINEAR
        else windowed
        if one in _SLIDING and window
        else wide
        if one in _FULL
        else full
        for one in types
    )
    shared = config.get("num_kv_shared_layers") or 0
    unknown = sorted({one for one in types if one not in _FULL | _SLIDING | _LINEAR | {"moe", "mlp"}})
    if any(one in _LINEAR for one in types) and not linear:
        unknown.append("linear attention without its dimensions")
    own = tuple(() if one in ("moe", "mlp") else layer for one, layer in zip(types, own, strict=True))
    if shared and shared < shape.layers:
        own = own[: shape.layers - shared] + ((),) * shared
    return own, f"its layers of kind {', '.join(unknown)} count as full attention" if unknown else ""


def _types_by_family(
    config: Config, shape: Geometry, kind: str, *, has_linear: bool, window: int
) -> Iterator[str]:
    every, other = 0, "sliding_attention"
    if has_linear:
        every, other = config.size("full_attention_interval", default=4), "linear_attention"
    elif kind in ("gemma3_text", "gemma3", "cohere2", "gemma3n_text", "exaone4"):
        letters = config.text("sliding_window_pattern")
        every = len(letters) or config.size("sliding_window_pattern", default=6 if "gemma" in kind else 4)
    elif kind in ("gemma2", "gpt_oss"):
        every = 2
    elif window and not kind.startswith("qwen"):
        every = shape.layers + 1  # Where nothing alternates, the window is every layer's.
    for number in range(1, shape.layers + 1):
        yield other if every and number % every else "full_attention"


def _windowed(config: Config, shape: Geometry, kind: str, window: int) -> Attention:
    return Attention(
        heads=shape.kv_heads,
        key_width=shape.head_width,
        value_width=shape.head_width,
        # Cohere counts the tokens before the current one.
        window=window + 1 if kind == "cohere2" else window,
    )


def _global(config: Config, shape: Geometry) -> Attention:
    """Gemma 4: layers of full attention may have heads of their own width and number."""
    width = config.size("global_head_dim", default=shape.head_width)
    heads = config.size("num_global_key_value_heads", default=shape.kv_heads)
    return Attention(heads=heads, key_width=width, value_width=width)

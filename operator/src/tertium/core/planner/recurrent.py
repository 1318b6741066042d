"""Layers whose memory of a sequence has a fixed size, and where they stand among the others.

Source: vLLM 0.32, `model_executor/layers/mamba/mamba_utils.py` and the models that use it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from tertium.core.planner.caches import Cache, Recurrent
from tertium.core.planner.config import Config
from tertium.core.planner.geometry import Geometry, Layer, padded

_FP32: Final = 4


def hybrid_layers(config: Config, shape: Geometry, attention: Cache) -> tuple[Layer, ...]:
    """Return the layers of a family that spells their kinds in a way of its own; nothing for others."""
    full: Layer = (attention,)
    if "linear_attn_config" in config:
        linear = config.part("linear_attn_config")
        where, state = frozenset(linear.numbers("full_attn_layers")), _delta_attention(linear)
        return tuple(full if number in where else (state,) for number in range(1, shape.layers + 1))
    if pattern := config.text("hybrid_override_pattern"):
        kinds: Mapping[str, Layer] = {"M": (mamba2(config),), "*": full}
        return tuple(kinds.get(letter, ()) for letter in pattern[: shape.layers])
    if attended := config.numbers("attn_type_list"):
        linear_layer: Layer = (_linear_attention(config, shape),)
        return tuple(full if one else linear_layer for one in padded(attended, shape.layers, 1))
    by_type: Mapping[str, Callable[[], tuple[Layer, ...]]] = {
        "jamba": lambda: _every_period(config, shape, full),
        "falcon_h1": lambda: ((attention, mamba2(config)),) * shape.layers,
        "mamba": lambda: ((_mamba1(config, shape),),) * shape.layers,
        "falcon_mamba": lambda: ((_mamba1(config, shape),),) * shape.layers,
        "mamba2": lambda: ((mamba2(config),),) * shape.layers,
    }
    layers = by_type.get(config.text("model_type"))
    return layers() if layers else ()


def _every_period(config: Config, shape: Geometry, full: Layer) -> tuple[Layer, ...]:
    period, offset = config.size("attn_layer_period", default=8), config.get("attn_layer_offset") or 0
    state: Layer = (_mamba1(config, shape),)
    return tuple(full if number % period == offset else state for number in range(shape.layers))


def _delta_attention(linear: Config) -> Recurrent:
    heads, width = linear.need("num_heads"), linear.need("head_dim")
    return Recurrent(
        channels=3 * heads * width,
        memory=linear.size("short_conv_kernel_size", default=4) - 1,
        elements=heads * width * width,
        element_bytes=_FP32,
        heads=heads,
        inner=heads * width,
    )


def _linear_attention(config: Config, shape: Geometry) -> Recurrent:
    return Recurrent(
        channels=0,
        memory=0,
        elements=shape.heads * shape.head_width**2,
        element_bytes=_state_bytes(config),
        heads=shape.heads,
        inner=shape.heads * shape.head_width,
    )


def gated_delta(config: Config) -> Recurrent:
    key_heads, value_heads = config.need("linear_num_key_heads"), config.need("linear_num_value_heads")
    key_width, value_width = config.need("linear_key_head_dim"), config.need("linear_value_head_dim")
    return Recurrent(
        channels=2 * key_heads * key_width + value_heads * value_width,
        memory=config.size("linear_conv_kernel_dim", default=4) - 1,
        elements=value_heads * key_width * value_width,
        element_bytes=_state_bytes(config),
        heads=value_heads,
        inner=value_heads * value_width,
        key_heads=key_heads,
    )


def _mamba1(config: Config, shape: Geometry) -> Recurrent:
    channels = config.size("mamba_expand", "expand", default=2) * shape.hidden
    return Recurrent(
        channels=config.size("intermediate_size", default=channels)
        if config.text("model_type") in ("mamba", "falcon_mamba")
        else channels,
        memory=config.size("mamba_d_conv", "conv_kernel", default=4) - 1,
        elements=channels * config.size("mamba_d_state", "state_size", default=16),
        element_bytes=_state_bytes(config),
        heads=channels,
        inner=channels,
    )


def mamba2(config: Config) -> Recurrent:
    heads = config.need("mamba_num_heads", "mamba_n_heads", "num_heads")
    width = config.need("mamba_head_dim", "mamba_d_head", "head_dim")
    state = config.need("ssm_state_size", "mamba_d_state", "state_size")
    return Recurrent(
        channels=heads * width,
        memory=config.size("conv_kernel", "mamba_d_conv", default=4) - 1,
        elements=heads * width * state,
        element_bytes=_state_bytes(config),
        heads=heads,
        inner=heads * width,
        groups=config.size("n_groups", "mamba_n_groups", default=1),
        group_width=state,
    )


def short_convolution(config: Config, shape: Geometry) -> Recurrent:
    return Recurrent(
        channels=config.size("conv_dim", default=shape.hidden),
        memory=config.need("conv_L_cache") - 1,
        elements=0,
        element_bytes=_FP32,
        heads=shape.hidden,
        inner=shape.hidden,
    )


def _state_bytes(config: Config) -> int:
    """Bytes of a state's element: what the config says, else FP32, as vLLM 0.32 keeps it."""
    said = config.text("mamba_ssm_cache_dtype", "mamba_ssm_dtype")
    return 2 if said in ("float16", "bfloat16") else _FP32

"""The dimensions that every decoder has, read from its config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

from tertium.core.planner.caches import Cache
from tertium.core.planner.config import Config

Layer: TypeAlias = tuple[Cache, ...]
"""What one layer keeps of a sequence; empty: nothing."""

Item = TypeVar("Item")

_LAYERS: Final = ("num_hidden_layers", "n_layer", "num_layers")
_HEADS: Final = ("num_attention_heads", "n_head", "num_heads")
_KV_HEADS: Final = (
    "n_head_kv", "num_kv_heads", "num_key_value_heads", "multi_query_group_num", "num_attention_groups"
)  # fmt: skip
_HEAD_WIDTH: Final = ("head_dim", "attention_head_dim", "kv_channels", "hidden_size_per_head")


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """The attention of a model's ordinary layers."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_width: int


def geometry(config: Config) -> Geometry:
    """Read what every decoder has. Raises Terminal, naming the field that is missing or out of bounds."""
    heads = config.need(*_HEADS)
    hidden = config.need("hidden_size", "n_embd", "d_model")
    listed = 0 if any(name in config for name in _LAYERS) else len(config.texts("layers_block_type"))
    if config.flag("multi_query_attention"):
        kv_heads = config.size("multi_query_group_num", default=1)
    else:
        kv_heads = config.size(*_KV_HEADS, default=heads)
    return Geometry(
        layers=listed or config.need(*_LAYERS),
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_width=config.size(*_HEAD_WIDTH, default=max(1, hidden // heads)),
    )


def padded(values: tuple[Item, ...], length: int, missing: Item) -> tuple[Item, ...]:
    """Return exactly `length` of them: a list may also describe layers that are not loaded."""
    return values[:length] + (missing,) * (length - len(values))

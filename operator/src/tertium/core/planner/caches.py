"""What a layer keeps of a sequence while it is answered, and how many bytes that is on one rank.

Sources: vLLM 0.32, `v1/kv_cache_interface.py` and `model_executor/layers/mamba/mamba_utils.py`.
Knows no config and no GPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

STATE_BYTES = 2
"""Convolution states are kept in the model's 16-bit type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """Keys and values per head. `window` bounds how many tokens are kept, `chunk` attends within chunks."""

    heads: int
    key_width: int
    value_width: int
    window: int = 0
    chunk: int = 0

    def token_bytes(self, tensor: int, element: int) -> int:
        """Bytes of one token on one rank; a head is kept by one rank at least."""
        return max(1, self.heads // tensor) * (self.key_width + self.value_width) * element


@dataclass(frozen=True, slots=True, kw_only=True)
class Latent:
    """One vector for all heads, whole on every rank: multi-head latent attention, and index keys.

    `quantized` says whether an 8-bit KV cache shrinks it, to `packed` bytes where that is not one per value;
    `fixed` bytes never shrink. `stride` tokens share one vector; `window` bounds how many tokens are kept.
    """

    width: int
    fixed: int = 0
    quantized: bool = True
    packed: int = 0
    stride: int = 1
    window: int = 0

    def token_bytes(self, _tensor: int, element: int) -> int:
        """Bytes of one stored vector on every rank."""
        if element == 1 and self.quantized:
            return (self.packed or self.width) + self.fixed
        return 2 * self.width + self.fixed


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurrent:
    """A state of fixed size per sequence: Mamba, gated delta net, Kimi delta attention, linear attention.

    `channels` pass a convolution that remembers `memory` tokens; `groups` of `group_width` more channels are
    copied up to the number of ranks; `elements` are the recurrent state of all heads, of `element_bytes`;
    `inner` is the width of what leaves the layer before its output projection.
    """

    channels: int
    memory: int
    elements: int
    element_bytes: int
    heads: int
    inner: int
    key_heads: int = 0
    groups: int = 0
    group_width: int = 0

    def state_bytes(self, tensor: int) -> int:
        """Bytes of the state of one sequence on one rank."""
        groups = self.groups if self.groups % tensor == 0 else tensor
        convolved = (self.channels + 2 * groups * self.group_width) // tensor
        return convolved * self.memory * STATE_BYTES + self.elements // tensor * self.element_bytes


Cache: TypeAlias = Attention | Latent | Recurrent

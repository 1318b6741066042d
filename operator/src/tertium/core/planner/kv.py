"""The KV cache: what a block takes on one rank, and how many blocks one sequence needs.

Layers of one kind form a group that shares block numbers; groups are made equally long, and every block is as
large as the widest group. Source: vLLM 0.32, `v1/core/kv_cache_utils.py` and `platforms/interface.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tertium.core.planner.caches import Attention, Cache, Latent, Recurrent
from tertium.core.planner.geometry import Layer
from tertium.core.planner.releases import (
    KV_BLOCK_TOKENS,
    LATENT_BLOCK_TOKENS,
    RECURRENT_LATENT_BLOCK_TOKENS,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """How the cache is to be used."""

    tensor: int
    element_bytes: int
    """Of keys and values: 2, or 1 in an 8-bit cache."""
    in_flight_tokens: int
    """Tokens of all batches that run at the same time; windows hold them beside the window itself."""
    states: int
    """State blocks that a sequence keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The cache of one rank. A block takes `block_bytes`; groups say how many blocks a sequence needs."""

    block_bytes: int
    groups: tuple[_Group, ...]
    recurrent: bool
    """Whether a block holds a state, so that every running sequence needs one."""

    def blocks(self, tokens: int) -> int:
        """Blocks of one sequence of that many tokens."""
        return sum(group.count * group.blocks(tokens) for group in self.groups)

    def need(self, tokens: int) -> int:
        """Bytes that one sequence needs, with the block that the engine keeps for itself."""
        return self.block_bytes * (self.blocks(tokens) + 1) if self.groups else 0

    def count(self, available_bytes: int) -> int:
        """Whole blocks in that many bytes."""
        return max(0, available_bytes) // self.block_bytes if self.block_bytes else 0

    def longest(self, available_bytes: int, most: int) -> int:
        """Longest sequence in tokens, up to `most`, that fits; 0 when none does."""
        blocks = self.count(available_bytes) - 1
        if not self.groups:
            return most
        low, high = 0, most
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.blocks(middle) <= blocks else (low, middle - 1)
        return low


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """`count` groups of layers of one kind, with blocks of `block_tokens`."""

    count: int
    block_tokens: int
    held: int = 0
    """Most tokens a sequence keeps; 0: all of them."""
    extra: int = 0
    """Blocks more, because a window need not start where a block does."""
    states: int = 0
    """Blocks of a state, whatever the length."""

    def blocks(self, tokens: int) -> int:
        if self.states:
            return self.states
        held = min(tokens, self.held) if self.held else tokens
        return -(-held // self.block_tokens) + self.extra


def pool_of(layers: Sequence[Layer], demand: Demand) -> Pool:
    """Return the cache of a stage that holds these layers."""
    kinds = _kinds(layers)
    if not kinds:
        return Pool(block_bytes=0, groups=(), recurrent=False)
    states = [cache for cache in kinds if isinstance(cache, Recurrent)]
    if any(isinstance(cache, Latent) and (cache.stride > 1 or cache.window) for cache in kinds):
        return _compressed(kinds, demand)
    block_tokens = _block_tokens(kinds, states, demand)
    kept: Counter[Cache] = Counter(
        {cache: count for cache, count in kinds.items() if not isinstance(cache, Recurrent)}
    )
    if len(kept) > 1 and not states and _same_tokens(kept):
        # Layers that keep the same tokens share one group, whatever their widths are.
        page = sum(block_tokens * _token_bytes(cache, demand) * count for cache, count in kept.items())
        return Pool(
            block_bytes=page, groups=(_group(next(iter(kept)), 1, block_tokens, demand),), recurrent=False
        )
    page = max((block_tokens * _token_bytes(cache, demand) for cache in kept), default=0)
    page = max([page, *(state.state_bytes(demand.tensor) for state in states)])
    size = _group_size(list(kinds.values()))
    groups = []
    for cache, count in kinds.items():
        tokens = block_tokens
        if not isinstance(cache, Recurrent):
            tokens = block_tokens * max(1, page // (block_tokens * _token_bytes(cache, demand)))
        groups.append(_group(cache, -(-count // size), tokens, demand))
    return Pool(block_bytes=page * size, groups=tuple(groups), recurrent=bool(states))


def _kinds(layers: Sequence[Layer]) -> Counter[Cache]:
    """Count caches. Layers alike are mostly the same object, which is cheaper to count than their fields."""
    kinds: Counter[Cache] = Counter()
    alike = {id(layer): layer for layer in layers}
    for identity, count in Counter(map(id, layers)).items():
        for cache in alike[identity]:
            kinds[cache] += count
    return kinds


def _token_bytes(cache: Cache, demand: Demand) -> int:
    return 1 if isinstance(cache, Recurrent) else cache.token_bytes(demand.tensor, demand.element_bytes)


def _block_tokens(kinds: Counter[Cache], states: Sequence[Recurrent], demand: Demand) -> int:
    """Tokens of a block: beside recurrent layers it grows until a state fits into it."""
    latent = any(isinstance(cache, Latent) and cache.width for cache in kinds)
    smallest = LATENT_BLOCK_TOKENS if latent else KV_BLOCK_TOKENS
    widest = [_token_bytes(cache, demand) for cache in kinds if not isinstance(cache, Recurrent)]
    if not states or not widest:
        return smallest
    step = RECURRENT_LATENT_BLOCK_TOKENS if latent else KV_BLOCK_TOKENS
    state = max(state.state_bytes(demand.tensor) for state in states)
    return max(step, -(-state // (step * max(widest))) * step)


def _same_tokens(kinds: Counter[Cache]) -> bool:
    return len({(getattr(cache, "window", 0), getattr(cache, "chunk", 0)) for cache in kinds}) == 1


def _group_size(counts: Sequence[int]) -> int:
    """Layers of a group: the fewest of a kind, or the most where that pads less than half."""
    fewest, most = min(counts), max(counts)
    return most if 2 * most < 3 * fewest else fewest


def _group(cache: Cache, count: int, block_tokens: int, demand: Demand) -> _Group:
    match cache:
        case Recurrent(groups=groups):
            # Where prefixes are cached, Mamba2 keeps a state more: a checkpoint of the prompt.
            states = demand.states + bool(groups) if demand.states > 1 else demand.states
            return _Group(count=count, block_tokens=block_tokens, states=states)
        case Attention(window=window) | Latent(window=window) if window:
            held = window - 1 + demand.in_flight_tokens
            return _Group(count=count, block_tokens=block_tokens, held=held, extra=1)
        case Attention(chunk=chunk) if chunk:
            return _Group(count=count, block_tokens=block_tokens, held=chunk + demand.in_flight_tokens)
        case _:
            return _Group(count=count, block_tokens=block_tokens)


def _compressed(kinds: Counter[Cache], demand: Demand) -> Pool:
    """Caches of many widths in one pool: a bound. One block of 64 tokens of every layer, windows as far as
    they reach, and a quarter more for the padding between them."""
    groups, block_bytes = [], 0
    for cache, count in kinds.items():
        if isinstance(cache, Latent) and not cache.window:
            block_bytes += count * -(-LATENT_BLOCK_TOKENS * cache.fixed // cache.stride)
    windows = sum(
        count * (cache.window + demand.in_flight_tokens) * cache.fixed
        for cache, count in kinds.items()
        if isinstance(cache, Latent) and cache.window
    )
    block_bytes = max(1, block_bytes * 5 // 4)
    groups.append(_Group(count=1, block_tokens=LATENT_BLOCK_TOKENS, extra=windows // block_bytes + 1))
    return Pool(block_bytes=block_bytes, groups=tuple(groups), recurrent=False)

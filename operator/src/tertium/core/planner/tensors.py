"""The tensors of a checkpoint, compactly: a mixture of experts has 60,000 of them and a hundred kinds.

Names become patterns: the first number is the layer, every further one (an expert, a codebook) a copy within
it. So a stage of a pipeline can be summed and the list fits into a ConfigMap. Knows no model family.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Final, TypeAlias

from tertium.api.conditions import Reason
from tertium.core.errors import Terminal

DTYPE_BITS: Final = {
    "F64": 64, "I64": 64, "U64": 64, "C64": 64,
    "F32": 32, "I32": 32, "U32": 32,
    "F16": 16, "BF16": 16, "I16": 16, "U16": 16,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I8": 8, "U8": 8, "BOOL": 8,
    "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip
"""Bits of an element, by the name safetensors gives it."""

Tensor: TypeAlias = tuple[str, str, tuple[int, ...], int]
"""Name, dtype, shape, and how many there are of it: in a name, `{}` stands for a number that tells copies."""

Layers: TypeAlias = tuple[tuple[int, int], ...]
"""Ranges of layer numbers, first and last; empty: the tensor belongs to no layer."""

_NUMBER: Final = re.compile(r"\.(\d{1,9})(?=\.)")
_MOST_ELEMENTS: Final = 1 << 45


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorGroup:
    """Tensors of one pattern, type and shape: `copies` of them in each of `layers`, or outside of layers."""

    pattern: str
    dtype: str
    shape: tuple[int, ...]
    layers: Layers = ()
    copies: int = 1

    @property
    def one_bytes(self) -> int:
        """Bytes of one tensor."""
        return -(-prod(self.shape) * DTYPE_BITS[self.dtype] // 8)

    @property
    def total_bytes(self) -> int:
        """Bytes of all of them."""
        layers = sum(last - start + 1 for start, last in self.layers) if self.layers else 1
        return self.one_bytes * self.copies * layers


def group(tensors: Iterable[Tensor]) -> tuple[TensorGroup, ...]:
    """Group tensors; the result does not depend on their order."""
    kinds: defaultdict[tuple[str, str, tuple[int, ...]], Counter[int]] = defaultdict(Counter)
    for name, dtype, shape, copies in tensors:
        parts = _NUMBER.split(name)
        layer = int(parts[1]) if len(parts) > 1 else -1
        kinds[".{}".join(parts[::2]), dtype, shape][layer] += copies
    return tuple(
        TensorGroup(pattern=pattern, dtype=dtype, shape=shape, layers=layers, copies=copies)
        for (pattern, dtype, shape), found in sorted(kinds.items())
        for copies, layers in _by_copies(found)
    )


def encode(groups: Sequence[TensorGroup]) -> list[list[Any]]:
    """Return the groups as an inspection stores them."""
    return [[g.pattern, g.dtype, list(g.shape), [list(r) for r in g.layers], g.copies] for g in groups]


def decode(stored: object) -> tuple[TensorGroup, ...]:
    """Read what `encode` wrote. Raises Terminal for anything else."""
    try:
        return tuple(_group(*entry) for entry in stored)  # type: ignore[attr-defined]
    except (TypeError, ValueError, KeyError) as error:
        raise Terminal(
            Reason.INSPECTION_FAILED,
            f"the stored list of tensors cannot be read ({error}); delete the inspection to make it again",
        ) from error


def _group(pattern: object, dtype: object, shape: object, layers: object, copies: object) -> TensorGroup:
    ranges = tuple((_whole(first), _whole(last)) for first, last in layers)  # type: ignore[attr-defined]
    found = TensorGroup(
        pattern=str(pattern),
        dtype=str(dtype),
        shape=tuple(_whole(size) for size in shape),  # type: ignore[attr-defined]
        layers=ranges,
        copies=_whole(copies),
    )
    if prod(found.shape) > _MOST_ELEMENTS or any(last < first for first, last in ranges):
        raise ValueError(f"{found.pattern} is out of bounds")
    DTYPE_BITS[found.dtype]
    return found


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST_ELEMENTS:
        raise ValueError(f"{value!r} is no size")
    return value


def _by_copies(found: Mapping[int, int]) -> list[tuple[int, Layers]]:
    by_copies: defaultdict[int, list[int]] = defaultdict(list)
    for layer, copies in found.items():
        by_copies[copies].append(layer)
    return [(copies, ranges_of(sorted(layers))) for copies, layers in sorted(by_copies.items())]


def ranges_of(layers: Sequence[int]) -> Layers:
    """Return ascending layer numbers as ranges; one that occurs twice makes a range of its own."""
    ranges: list[tuple[int, int]] = []
    for layer in layers:
        if layer < 0:
            continue
        if ranges and ranges[-1][1] == layer - 1:
            ranges[-1] = (ranges[-1][0], layer)
        else:
            ranges.append((layer, layer))
    return tuple(ranges)

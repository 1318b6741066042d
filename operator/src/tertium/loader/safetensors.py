"""Headers of safetensors files: eight bytes of length, then JSON that names every tensor.

Only headers are read, so a model of any size takes milliseconds.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from math import prod
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, TypeAlias

from tertium.core.errors import Terminal
from tertium.core.planner.tensors import DTYPE_BITS, Tensor
from tertium.loader.facts import failed, read_object

PREFIX_BYTES: Final = 8

_ENTRY: Final = re.compile(
    r'"([^"\\]+)": ?\{"dtype": ?"(\w+", ?"shape": ?\[(?:[0-9]{1,18}, ?)*[0-9]{0,18})\], '
    r'?"data_offsets": ?\[([0-9]{1,18}), ?([0-9]{1,18})\]\}'
)
_Entry: TypeAlias = tuple[str, str, str, str]
"""Name, dtype and shape, start and end of a tensor, as the header spells them."""
_NAME, _KIND, _END = 0, 1, 3
_Kind: TypeAlias = tuple[str, tuple[int, ...], int]
"""Dtype, shape and bytes."""
_MOST_ELEMENTS: Final = 1 << 45
_LONGEST_HEADER_BYTES: Final = 100_000_000
"""The format's own limit."""


def read_tensors(path: Path, source: str) -> tuple[Tensor, ...]:
    """Return the tensors that a file's header names; `source` is what messages call the model.

    Raises Terminal when the header is no such header or the file ends before its last tensor does.
    """
    what = f"{source}: {path.name}"
    file_bytes = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(PREFIX_BYTES)
        length = header_bytes(prefix, what)
        if file_bytes < PREFIX_BYTES + length:
            raise failed(
                f"{what} is cut off: its header should take {length:,} bytes and the file has "
                f"{file_bytes:,}; copy it again"
            )
        header = file.read(length)
    return tensors_of(header, what, file_bytes - PREFIX_BYTES - length)


def header_bytes(prefix: bytes, what: str) -> int:
    """Return the length of the header that a file's first bytes announce. Raises Terminal when it is none."""
    length = int.from_bytes(prefix[:PREFIX_BYTES], "little")
    if len(prefix) < PREFIX_BYTES or not 0 < length <= _LONGEST_HEADER_BYTES:
        raise failed(f"{what} is not a safetensors file; copy it again")
    return length


def tensors_of(header: bytes, what: str, data_bytes: int | None = None) -> tuple[Tensor, ...]:
    """Return the tensors of a header; `data_bytes`: how much follows it, where that is known.

    Raises Terminal when the header is no such header, or the data ends before its last tensor does.
    """
    entries = _entries(header.decode(errors="replace"), what)
    if not entries:
        raise failed(f"{what} holds no tensors")
    counts = Counter(map(itemgetter(_KIND), entries))
    named = dict(map(itemgetter(_KIND, _NAME), entries))
    kinds = {kind: _kind(what, name, kind) for kind, name in named.items()}
    # Tensors lie one behind the other: only where the sum is wrong, each is looked at.
    last = max(map(int, map(itemgetter(_END), entries)))
    if last != sum(kinds[kind][2] * count for kind, count in counts.items()):
        raise _misplaced(what, entries, kinds)
    if data_bytes is not None and last > data_bytes:
        name = max((int(entry[_END]), entry[_NAME]) for entry in entries)[1]
        raise failed(
            f"{what} is cut off: {name} should end at byte {last:,} and the data has {data_bytes:,}; "
            "copy it again"
        )
    return tuple((entry[_NAME], *kinds[entry[_KIND]][:2]) for entry in entries)


def _misplaced(what: str, entries: Sequence[_Entry], kinds: Mapping[str, _Kind]) -> Terminal:
    for name, kind, start, end in entries:
        dtype, _, size_bytes = kinds[kind]
        if int(end) - int(start) != size_bytes:
            return failed(
                f"{what}: its header gives {name} {int(end) - int(start):,} bytes, expected {size_bytes:,} "
                f"for its shape and {dtype}; copy it again"
            )
    return failed(f"{what}: its header leaves gaps between tensors; copy it again")


def _entries(text: str, what: str) -> list[_Entry]:
    """Return the entries as text. Headers are written in one way, which a pattern reads faster than JSON."""
    found: list[_Entry] = _ENTRY.findall(text)
    if found and len(found) == text.count('"dtype"'):
        return found
    header = dict(read_object(text, f"{what}: its header"))
    header.pop("__metadata__", None)
    return [_entry(what, name, entry) for name, entry in header.items()]


def _entry(what: str, name: str, entry: Any) -> _Entry:
    try:
        start, end = entry["data_offsets"]
        shape = [*entry["shape"]]
        if not all(type(number) is int and number >= 0 for number in (*shape, start, end)):
            raise ValueError(name)
        return name, f'{entry["dtype"]}"[{",".join(map(str, shape))}', str(start), str(end)
    except (KeyError, TypeError, ValueError) as error:
        raise failed(f"{what}: its header describes {name} in no known way") from error


def _kind(what: str, name: str, kind: str) -> _Kind:
    dtype, _, rest = kind.partition('"')
    text = rest.partition("[")[2]
    shape = tuple(int(size) for size in text.split(",")) if text else ()
    if dtype not in DTYPE_BITS:
        raise failed(f"{what}: {name} is of type {dtype}, expected one of {', '.join(DTYPE_BITS)}")
    if prod(shape) > _MOST_ELEMENTS:
        raise failed(f"{what}: its header gives {name} the shape {list(shape)}, which is out of bounds")
    return dtype, shape, -(-prod(shape) * DTYPE_BITS[dtype] // 8)

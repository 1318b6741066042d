"""Headers of safetensors files: eight bytes of length, then JSON that names every tensor.

Only headers are read, so a model of any size takes milliseconds.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from math import prod
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, TypeAlias

from tertium.core.planner.tensors import DTYPE_BITS, Tensor
from tertium.loader.facts import failed, read_object

PREFIX_BYTES: Final = 8

_ENTRY: Final = re.compile(
    rb'"(?:([^"0-9\\]*+(?<=\.)[0-9]{1,9}+(?=\.)[^"0-9\\]*+(?<=\.))[0-9]{1,9}+(?=\.))?([^"\\]++)": ?'
    rb'\{"dtype": ?"([^]]*+)\], ?"data_offsets": ?\[[0-9]{1,18}+, ?([0-9]{1,18}+)\]\}'
)
"""A tensor as headers are written. Of a name that holds a layer and then another number, what is before that
number and what is behind; of any other, all as what is behind. Then dtype and shape, and the end."""
_BEFORE, _BEHIND, _DESCRIPTION, _END = range(4)
_DESCRIBED: Final = re.compile(rb'(\w{1,32})", ?"shape": ?\[((?:[0-9]{1,18}(?:, ?[0-9]{1,18})*)?)')
_Kind: TypeAlias = tuple[str, tuple[int, ...]]
"""Dtype and shape."""
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


def fetch_tensors(
    read: Callable[[int, int], bytes], what: str, *, guess: int, file_bytes: int | None
) -> tuple[Tensor, ...]:
    """Return the tensors of a file elsewhere. `read` returns a range of it; a good `guess` makes it one call.

    Raises Terminal as `read_tensors` does.
    """
    start = read(0, guess)
    end = PREFIX_BYTES + header_bytes(start, what)
    if file_bytes is not None and end > file_bytes:
        raise failed(f"{what} is cut off: its header should end at byte {end:,}; copy it again")
    if end > len(start):
        start += read(len(start), end)
    return tensors_of(start[PREFIX_BYTES:end], what, None if file_bytes is None else file_bytes - end)


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
    return _glanced(header, data_bytes) or _read(header, what, data_bytes)


def _glanced(header: bytes, data_bytes: int | None) -> tuple[Tensor, ...]:
    """Return the tensors of a header that is in order as a whole; nothing where it is not, or seems not.

    A mixture of experts has tens of thousands of tensors: what is done with each is done by a pattern, which
    reads the usual spelling faster than JSON is read, and by other loops that are not ours.
    """
    entries = _ENTRY.findall(header)
    # Nothing is left over where every brace but the header's own and that of the metadata closes a tensor.
    if not entries or len(entries) + 1 + (b'"__metadata__"' in header) != header.count(b"}"):
        return ()
    counts = Counter(map(itemgetter(_BEFORE, _BEHIND, _DESCRIPTION), entries))
    kinds = {spelt: _kind(spelt) for _, _, spelt in counts}
    last = max(map(int, map(itemgetter(_END), entries)))
    tensors, total = [], 0
    for (before, behind, spelt), copies in counts.items():
        kind = kinds[spelt]
        if kind is None:
            return ()
        total += copies * _size_bytes(*kind)
        tensors.append((_text(b"%b{}%b" % (before, behind) if before else behind), *kind, copies))
    if last != total or (data_bytes is not None and last > data_bytes):
        return ()
    return tuple(tensors)


def _kind(spelt: bytes) -> _Kind | None:
    match = _DESCRIBED.fullmatch(spelt)
    if match is None:
        return None
    dtype = _text(match[1])
    shape = tuple(map(int, match[2].split(b","))) if match[2] else ()
    return (dtype, shape) if dtype in DTYPE_BITS and prod(shape) <= _MOST_ELEMENTS else None


def _read(header: bytes, what: str, data_bytes: int | None) -> tuple[Tensor, ...]:
    """Read a header as JSON, tensor by tensor, and name the one that is wrong."""
    document = dict(read_object(_text(header), f"{what}: its header"))
    document.pop("__metadata__", None)
    if not document:
        raise failed(f"{what} holds no tensors")
    tensors, ends, total = [], [], 0
    for name, entry in document.items():
        dtype, shape, start, end = _entry(what, name, entry)
        expected = _size_bytes(dtype, shape)
        if end - start != expected:
            raise failed(
                f"{what}: its header gives {name} {end - start:,} bytes, expected {expected:,} "
                f"for its shape and {dtype}; copy it again"
            )
        tensors.append((name, dtype, shape, 1))
        ends.append((end, name))
        total += expected
    last, name = max(ends)
    if last != total:
        raise failed(f"{what}: its header leaves gaps between tensors; copy it again")
    if data_bytes is not None and last > data_bytes:
        raise failed(
            f"{what} is cut off: {name} should end at byte {last:,} and the data has {data_bytes:,}; "
            "copy it again"
        )
    return tuple(tensors)


def _entry(what: str, name: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    try:
        start, end = entry["data_offsets"]
        dtype, shape = entry["dtype"], tuple(entry["shape"])
        if not all(type(number) is int and number >= 0 for number in (*shape, start, end)):
            raise ValueError(name)
    except (KeyError, TypeError, ValueError) as error:
        raise failed(f"{what}: its header describes {name} in no known way") from error
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise failed(f"{what}: {name} is of type {dtype}, expected one of {', '.join(DTYPE_BITS)}")
    if prod(shape) > _MOST_ELEMENTS:
        raise failed(f"{what}: its header gives {name} the shape {list(shape)}, which is out of bounds")
    return dtype, shape, start, end


def _size_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    return -(-prod(shape) * DTYPE_BITS[dtype] // 8)


def _text(spelt: bytes) -> str:
    return spelt.decode(errors="replace")

"""Headers of safetensors files on disk: eight bytes of length, then JSON that names every tensor.

Only headers are read, so a model of any size takes milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tertium.loader.facts import Tensor, failed, read_object

_LONGEST_HEADER_BYTES: Final = 100_000_000
"""The format's own limit."""


def read_tensors(path: Path, source: str) -> tuple[Tensor, ...]:
    """Return the tensors that a file's header names; `source` is what messages call the model.

    Raises Terminal when the header is no such header or the file ends before its last tensor does.
    """
    what = f"{source}: {path.name}"
    file_bytes = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if file_bytes < 8 or not 0 < length <= _LONGEST_HEADER_BYTES:
            raise failed(f"{what} is not a safetensors file; copy it again")
        if file_bytes < 8 + length:
            raise failed(
                f"{what} is cut off: its header should take {length:,} bytes and the file has "
                f"{file_bytes:,}; copy it again"
            )
        header = read_object(file.read(length).decode(errors="replace"), f"{what}: its header")
    data_bytes = file_bytes - 8 - length
    entries = ((name, entry) for name, entry in header.items() if name != "__metadata__")
    tensors = tuple(_tensor(what, name, entry, data_bytes) for name, entry in entries)
    if not tensors:
        raise failed(f"{what} holds no tensors")
    return tensors


def _tensor(what: str, name: str, entry: Mapping[str, Any], data_bytes: int) -> Tensor:
    try:
        start, end = (int(offset) for offset in entry["data_offsets"])
        tensor = Tensor(name, str(entry["dtype"]), tuple(int(size) for size in entry["shape"]), end - start)
    except (KeyError, TypeError, ValueError) as error:
        raise failed(f"{what}: its header describes {name} in no known way") from error
    if end > data_bytes:
        raise failed(
            f"{what} is cut off: {name} should end at byte {end:,} and the data has {data_bytes:,}; "
            "copy it again"
        )
    return tensor

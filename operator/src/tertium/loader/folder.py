"""A model in a folder: a mounted claim, or one on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from tertium.loader.facts import (
    INDEX,
    MOST_CONFIG_BYTES,
    MOST_INDEX_BYTES,
    Facts,
    facts_of,
    failed,
    listing,
    model_config,
    not_found,
    shards_of,
    too_large,
)
from tertium.loader.safetensors import read_tensors


def inspect_folder(root: Path, path: str, source: str) -> Facts:
    """Read the model in folder `path` of `root`; `source` is what messages call it.

    Raises Terminal when there is no such folder, saying what there is, or when it holds no readable model.
    """
    folder = root
    for part in Path(path).parts:
        parent, folder = folder, folder / part
        if not folder.is_dir():
            raise not_found(f"{source}: there is no folder {part}; in its place there is {_names(parent)}")
    try:
        names = {file.name for file in folder.iterdir()}
        config = model_config(names, lambda name: _text(folder, name, source, MOST_CONFIG_BYTES), source)
        shards = list(_weight_files(folder, source))
        return facts_of(config, chain.from_iterable(read_tensors(file, source) for file in shards))
    except OSError as error:
        raise failed(f"{source}: cannot read {error.filename}: {error.strerror}") from error


def _weight_files(folder: Path, source: str) -> Iterator[Path]:
    if (folder / INDEX).is_file():
        names = list(shards_of(_text(folder, INDEX, source, MOST_INDEX_BYTES), source))
        for name in names:
            if not (folder / name).is_file():
                raise failed(f"{source}: {INDEX} names {name}, which is not there; copy the model again")
    else:
        names = sorted(file.name for file in folder.glob("*.safetensors"))
    if not names:
        raise failed(
            f"{source}: there are no safetensors weights; the folder holds {_names(folder)}. "
            "Convert the model to safetensors"
        )
    yield from (folder / name for name in names)


def _text(folder: Path, name: str, source: str, most: int) -> str:
    if not (folder / name).is_file():
        raise failed(f"{source}: there is no {name}; the folder holds {_names(folder)}")
    size_bytes = (folder / name).stat().st_size
    if size_bytes > most:
        raise too_large(f"{source}: {name}", size_bytes, most)
    return (folder / name).read_text(encoding="utf-8", errors="replace")


def _names(folder: Path) -> str:
    if not folder.is_dir():
        return "nothing"
    return listing(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))

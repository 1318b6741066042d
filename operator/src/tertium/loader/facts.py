"""What an inspection hands to the planner, in the JSON form that is printed and stored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from tertium.api.conditions import Reason
from tertium.core.errors import Terminal

Facts: TypeAlias = Mapping[str, Any]

INDEX: Final = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True, order=True)
class Tensor:
    """One tensor of a safetensors file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int


def facts_of(config: Mapping[str, Any], tensors: Iterable[Tensor], *, revision: str = "") -> Facts:
    """Return the facts. The digest covers config and tensor list: what the plan depends on."""
    ordered = sorted(tensors)
    described = [[tensor.name, tensor.dtype, list(tensor.shape), tensor.size_bytes] for tensor in ordered]
    canonical = json.dumps([config, described], sort_keys=True, separators=(",", ":"))
    return {
        "config": config,
        "weightBytes": sum(tensor.size_bytes for tensor in ordered),
        "revision": revision,
        "digest": f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}",
    }


def read_config(text: str, where: str) -> Mapping[str, Any]:
    """Parse a config.json. Raises Terminal, naming `where` and the place in it."""
    return read_object(text, f"{where}: config.json")


def shards_of(index: str, where: str) -> list[str]:
    """Return the files an index names: what the engine loads, whatever else lies beside them.

    Raises Terminal when it is no such index.
    """
    weights = read_object(index, f"{where}: {INDEX}").get("weight_map")
    if not isinstance(weights, dict) or not weights:
        raise failed(f"{where}: {INDEX} has no weight_map")
    return sorted({str(name) for name in weights.values()})


def read_object(text: str, what: str) -> Mapping[str, Any]:
    """Parse a JSON object. Raises Terminal, naming `what`."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise failed(f"{what} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise failed(f"{what} holds a {type(document).__name__}, expected an object")
    return document


def failed(message: str) -> Terminal:
    """The model is there but cannot be read."""
    return Terminal(Reason.INSPECTION_FAILED, message)


def not_found(message: str) -> Terminal:
    """There is no model."""
    return Terminal(Reason.MODEL_NOT_FOUND, message)


def listing(names: Iterable[str], limit: int = 8) -> str:
    """Name what is there instead of what was looked for."""
    ordered = sorted(names)
    more = f" and {len(ordered) - limit} more" if len(ordered) > limit else ""
    return f"{', '.join(ordered[:limit])}{more}" if ordered else "nothing"

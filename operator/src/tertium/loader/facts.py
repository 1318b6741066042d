"""What an inspection hands to the planner, in the JSON form that is printed and stored."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any, Final, TypeAlias

from tertium.api.conditions import Reason
from tertium.core.errors import Terminal
from tertium.core.planner.tensors import Tensor, encode, group

Facts: TypeAlias = Mapping[str, Any]

CONFIG: Final = "config.json"
INDEX: Final = "model.safetensors.index.json"
QUANTIZATION: Final = "hf_quant_config.json"
"""How a checkpoint is quantized, where its exporter did not say it in the config. The engine reads both."""
MOST_CONFIG_BYTES: Final = 8 << 20
MOST_INDEX_BYTES: Final = 256 << 20

_QUANTIZED: Final = ("quantization_config", "compression_config")


def facts_of(config: Mapping[str, Any], tensors: Iterable[Tensor], *, revision: str = "") -> Facts:
    """Return the facts. The digest covers config and tensors: what the plan depends on.

    Tensors are stored by pattern: a mixture of experts has tens of thousands, a ConfigMap holds 1 MiB.
    """
    groups = group(tensors)
    stored = encode(groups)
    canonical = json.dumps([config, stored], sort_keys=True, separators=(",", ":"))
    return {
        "config": config,
        "weightBytes": sum(one.total_bytes for one in groups),
        "tensors": stored,
        "revision": revision,
        "digest": f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}",
    }


def model_config(names: Container[str], text_of: Callable[[str], str], where: str) -> Mapping[str, Any]:
    """Return the config of a model whose files are `names`, with its quantization wherever that stands.

    Raises Terminal, naming `where` and the file.
    """
    config = read_config(text_of(CONFIG), where)
    if QUANTIZATION not in names or any(config.get(name) for name in _QUANTIZED):
        return config
    apart = read_object(text_of(QUANTIZATION), f"{where}: {QUANTIZATION}")
    inner = apart.get("quantization")
    if isinstance(inner, dict):
        # Formats layer by layer take megabytes, more than a ConfigMap holds; the tensors tell them as well.
        apart = {**apart, "quantization": {k: v for k, v in inner.items() if k != "quantized_layers"}}
    return {**config, "quantization_config": apart}


def read_config(text: str, where: str) -> Mapping[str, Any]:
    """Parse a config.json. Raises Terminal, naming `where` and the place in it."""
    return read_object(text, f"{where}: {CONFIG}")


def shards_of(index: str, where: str) -> dict[str, int]:
    """Return the files an index names, each with how many tensors it holds: what the engine loads.

    Raises Terminal when it is no such index.
    """
    weights = read_object(index, f"{where}: {INDEX}").get("weight_map")
    if not isinstance(weights, dict) or not weights:
        raise failed(f"{where}: {INDEX} has no weight_map")
    try:
        shards = Counter(weights.values())
    except TypeError:
        raise failed(f"{where}: {INDEX} has a weight_map whose values are no file names") from None
    for name in shards:
        if not isinstance(name, str) or not _is_file_name(name):
            raise failed(f"{where}: {INDEX} names {name!r}, expected a file beside it")
    return dict(sorted(shards.items()))


def read_object(text: str, what: str) -> Mapping[str, Any]:
    """Parse a JSON object. Raises Terminal, naming `what`."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise failed(f"{what} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise failed(f"{what} holds a {type(document).__name__}, expected an object")
    return document


def too_large(what: str, size_bytes: int, most: int) -> Terminal:
    """A file that is far larger than such files are, so that it is not read into memory."""
    return failed(f"{what} has {size_bytes:,} bytes, expected at most {most:,}; is it the right file?")


def failed(message: str) -> Terminal:
    """The model is there but cannot be read."""
    return Terminal(Reason.INSPECTION_FAILED, message)


def not_found(message: str) -> Terminal:
    """There is no model."""
    return Terminal(Reason.MODEL_NOT_FOUND, message)


def first_line(error: Exception) -> str:
    """The first line of what a library says, or the name of its error."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def listing(names: Iterable[str], limit: int = 8) -> str:
    """Name what is there instead of what was looked for."""
    ordered = sorted(names)
    more = f" and {len(ordered) - limit} more" if len(ordered) > limit else ""
    return f"{', '.join(ordered[:limit])}{more}" if ordered else "nothing"


def _is_file_name(name: str) -> bool:
    return bool(name) and not name.startswith("/") and ".." not in name.split("/")

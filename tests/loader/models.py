"""Model folders for the loader's tests: real safetensors files, small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

CONFIG: dict[str, Any] = {"model_type": "llama", "num_hidden_layers": 2}
TENSOR_BYTES = 4 * 8 * 2


def write_shard(folder: Path, name: str, *tensors: str) -> None:
    """Write a shard whose every tensor has 4 x 8 half-precision elements."""
    save_file({tensor: np.zeros((4, 8), np.float16) for tensor in tensors}, folder / name)


def write_model(folder: Path) -> Path:
    """Write config.json and one file of two tensors."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    write_shard(folder, "model.safetensors", "a", "b")
    return folder


def write_sharded_model(folder: Path) -> Path:
    """Write config.json, an index of two shards, and a third shard that the index does not name."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    shards = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    for tensor, name in shards.items():
        write_shard(folder, name, tensor)
    write_shard(folder, "consolidated.safetensors", "a", "b")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    return folder

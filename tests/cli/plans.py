"""Models and rows for the tests of `tertium plan`: facts of a public model, as few as the planner needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

QWEN_7B: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "max_position_embeddings": 32768,
    "num_attention_heads": 28,
    "num_hidden_layers": 28,
    "num_key_value_heads": 4,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vocab_size": 152064,
}
QWEN_7B_BYTES = 15_231_233_024
INDEX = "model.safetensors.index.json"


def write_config(folder: Path, config: dict[str, Any] | None = None) -> Path:
    """Write a folder that holds a config and nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(QWEN_7B if config is None else config))
    return folder


def row(**changes: Any) -> dict[str, Any]:
    """A row of a batch that fits on one GPU; None takes a key out."""
    whole = {
        "id": "qwen",
        "config": QWEN_7B,
        "weightBytes": QWEN_7B_BYTES,
        "gpu": "NVIDIA-L4",
        "gpusPerNode": 4,
        "contextTokens": 8192,
        "maxNumSeqs": 64,
        **changes,
    }
    return {key: value for key, value in whole.items() if value is not None}

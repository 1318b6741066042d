"""Writes the files of a Hugging Face llama checkpoint. The same input always gives the same bytes.

Must not know where the weights come from.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaShape:
    """The numbers of a llama that its config.json states. Sizes in elements, `max_positions` in tokens."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    max_positions: int
    rope_theta: float
    rms_norm_epsilon: float
    bos_token_id: int
    eos_token_id: int
    pad_token_id: int

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor of the checkpoint; the output projection is the embedding."""
        q_rows, kv_rows = self.heads * self.head_dim, self.kv_heads * self.head_dim
        layer: dict[str, tuple[int, ...]] = {
            "input_layernorm": (self.hidden,),
            "mlp.down_proj": (self.hidden, self.intermediate),
            "mlp.gate_proj": (self.intermediate, self.hidden),
            "mlp.up_proj": (self.intermediate, self.hidden),
            "post_attention_layernorm": (self.hidden,),
            "self_attn.k_proj": (kv_rows, self.hidden),
            "self_attn.o_proj": (self.hidden, q_rows),
            "self_attn.q_proj": (q_rows, self.hidden),
            "self_attn.v_proj": (kv_rows, self.hidden),
        }
        shapes = {
            f"model.layers.{index}.{name}.weight": shape
            for index in range(self.layers)
            for name, shape in layer.items()
        }
        return shapes | {
            "model.embed_tokens.weight": (self.vocabulary, self.hidden),
            "model.norm.weight": (self.hidden,),
        }


def write_checkpoint(folder: Path, shape: LlamaShape, weights: Mapping[str, FloatArray]) -> None:
    """Write config.json, generation_config.json and model.safetensors (bf16) into `folder`.

    Raises ValueError when a tensor is missing, is not of the llama, or has another shape than it must have.
    """
    _refuse_wrong_tensors(shape.tensors(), weights)
    write_json(folder / "config.json", config(shape))
    write_json(folder / "generation_config.json", generation_config(shape))
    weights_file = folder / "model.safetensors"
    save_file(
        {name: np.ascontiguousarray(weights[name].astype(ml_dtypes.bfloat16)) for name in sorted(weights)},
        weights_file,
        metadata={"format": "pt"},
    )
    # safetensors makes files for their owner alone; an engine runs as another user.
    weights_file.chmod(0o644)


def config(shape: LlamaShape) -> dict[str, Any]:
    """The config.json of a llama with tied embeddings in bf16."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": shape.bos_token_id,
        "eos_token_id": shape.eos_token_id,
        "pad_token_id": shape.pad_token_id,
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "hidden_size": shape.hidden,
        "initializer_range": 0.02,
        "intermediate_size": shape.intermediate,
        "max_position_embeddings": shape.max_positions,
        "mlp_bias": False,
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
        "rms_norm_eps": shape.rms_norm_epsilon,
        "rope_scaling": None,
        "rope_theta": shape.rope_theta,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": shape.vocabulary,
    }


def generation_config(shape: LlamaShape) -> dict[str, Any]:
    """The generation_config.json: token ids only, so that the engine's own sampling defaults hold."""
    return {
        "bos_token_id": shape.bos_token_id,
        "eos_token_id": shape.eos_token_id,
        "pad_token_id": shape.pad_token_id,
    }


def write_json(path: Path, content: object) -> None:
    """Write `content` as indented JSON in UTF-8."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _refuse_wrong_tensors(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, FloatArray]) -> None:
    if missing := sorted(expected.keys() - found.keys()):
        raise ValueError(f"checkpoint lacks tensor {missing[0]} ({len(missing)} missing)")
    if unknown := sorted(found.keys() - expected.keys()):
        raise ValueError(f"checkpoint has tensor {unknown[0]}, which a llama does not have")
    for name, shape in expected.items():
        if found[name].shape != shape:
            raise ValueError(f"tensor {name} has shape {found[name].shape}, config.json needs {shape}")

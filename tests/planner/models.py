"""Geometries for the planner's tests: two small models of the end-to-end tests, and well-known ones."""

from __future__ import annotations

from typing import Any

from tertium.api.v1alpha1 import LLMDeploymentSpec
from tertium.core.planner import GpuPool, ModelFacts

SMOLLM2 = {
    "num_hidden_layers": 30,
    "hidden_size": 576,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "intermediate_size": 1536,
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
    "torch_dtype": "bfloat16",
}
TINY_LLAMA = {
    "num_hidden_layers": 16,
    "hidden_size": 512,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "intermediate_size": 1024,
    "vocab_size": 49152,
    "max_position_embeddings": 65536,
    "torch_dtype": "bfloat16",
}
LLAMA_8B = {
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "torch_dtype": "bfloat16",
}
PHI_4 = {
    "num_hidden_layers": 40,
    "hidden_size": 5120,
    "num_attention_heads": 40,
    "num_key_value_heads": 10,
    "intermediate_size": 17920,
    "vocab_size": 100352,
    "max_position_embeddings": 16384,
    "torch_dtype": "bfloat16",
}
SMOLLM2_BYTES = 269_060_352
TINY_LLAMA_BYTES = 134_251_520
LLAMA_8B_BYTES = 16_060_522_496
PHI_4_BYTES = 29_319_042_560

L4 = GpuPool(product="NVIDIA-L4", memory_mebibytes=23034, gpus_per_node=8)
H100 = GpuPool(product="NVIDIA-H100-80GB-HBM3", memory_mebibytes=81559, gpus_per_node=8)
SMALL = GpuPool(product="Fake-GPU-2GB", memory_mebibytes=2048, gpus_per_node=4)
MEDIUM = GpuPool(product="Fake-GPU-24GB", memory_mebibytes=24576, gpus_per_node=4)


def facts(config: dict[str, Any], weight_bytes: int) -> ModelFacts:
    """Facts as an inspection stores them."""
    return ModelFacts.parse({"config": config, "weightBytes": weight_bytes, "digest": "sha256:0"})


def spec(
    *, context: int = 8192, sequences: int = 64, products: tuple[str, ...] = (), tensor: int | None = None
) -> LLMDeploymentSpec:
    """A spec with the fields that the planner reads."""
    return LLMDeploymentSpec.model_validate(
        {
            "model": {"source": "pvc://models/model"},
            "capacity": {"contextTokens": context, "concurrentSequences": sequences},
            "accelerators": [{"product": product} for product in products],
            "parallelism": {} if tensor is None else {"tensor": tensor},
        }
    )

"""Tensors by pattern, and where the ranks and stages hold them."""

from __future__ import annotations

from typing import Any

import pytest

from tertium.core.planner import ModelFacts, TensorGroup
from tertium.core.planner.tensors import Tensor, decode, encode, group
from tertium.core.planner.weights import stage_bytes, stage_ends
from tests.planner.models import (
    DEEPSEEK_V3,
    GPT_OSS_120B,
    GPT_OSS_120B_BYTES,
    LLAMA_8B,
    MIXTRAL,
    QWEN2_7B,
    facts,
)

MEBIBYTE = 1 << 20


def test_numbers_become_patterns_and_counts() -> None:
    tensors: list[Tensor] = [
        ("model.embed_tokens.weight", "BF16", (100, 8), 1),
        *((f"model.layers.{layer}.mlp.gate.weight", "F32", (4, 8), 1) for layer in range(1, 4)),
        *(
            (f"model.layers.{layer}.mlp.experts.{expert}.w1.weight", "BF16", (16, 8), 1)
            for layer in range(1, 4)
            for expert in range(4)
        ),
    ]
    found = group(reversed(tensors))
    assert found == (
        TensorGroup(pattern="model.embed_tokens.weight", dtype="BF16", shape=(100, 8)),
        TensorGroup(
            pattern="model.layers.{}.mlp.experts.{}.w1.weight",
            dtype="BF16",
            shape=(16, 8),
            layers=((1, 3),),
            copies=4,
        ),
        TensorGroup(pattern="model.layers.{}.mlp.gate.weight", dtype="F32", shape=(4, 8), layers=((1, 3),)),
    )
    assert sum(one.total_bytes for one in found) == 1600 + 12 * 256 + 3 * 128
    assert decode(encode(found)) == found


def test_layers_that_are_missing_split_the_range() -> None:
    (found,) = group((f"layers.{layer}.w", "F16", (1,), 1) for layer in (0, 1, 5))
    assert found.layers == ((0, 1), (5, 5))
    assert found.total_bytes == 3 * 2


@pytest.mark.parametrize(
    ("layers", "pipeline", "ends"),
    [
        pytest.param(32, 1, (32,), id="one stage holds all"),
        pytest.param(32, 4, (8, 16, 24, 32), id="equal stages"),
        pytest.param(61, 4, (15, 30, 46, 61), id="what is left goes before the last stage"),
        pytest.param(7, 2, (4, 7), id="to the first of two"),
    ],
)
def test_stages(layers: int, pipeline: int, ends: tuple[int, ...]) -> None:
    assert stage_ends(layers, pipeline) == ends


def of_tensors(config: dict[str, Any], *tensors: Tensor) -> ModelFacts:
    return ModelFacts.of(config, tensors=group(tensors))


LAYER = "model.layers.0."


@pytest.mark.parametrize(
    ("config", "tensor", "ranks", "size_bytes"),
    [
        pytest.param(LLAMA_8B, (LAYER + "mlp.up_proj.weight", "BF16", (16, 8), 1), 4, 64, id="is split"),
        pytest.param(
            LLAMA_8B, (LAYER + "input_layernorm.weight", "BF16", (8,), 1), 4, 16, id="norms are not"
        ),
        pytest.param(
            LLAMA_8B,
            (LAYER + "self_attn.k_proj.weight", "BF16", (64, 8), 1),
            16,
            128,
            id="a KV head is whole",
        ),
        pytest.param(
            QWEN2_7B,
            (LAYER + "self_attn.qkv_proj.weight", "BF16", (3600, 8), 1),
            28,
            4800,
            id="in a fused projection too",
        ),
        pytest.param(LLAMA_8B, ("lm_head.weight", "BF16", (64, 8), 1), 4, 256, id="the output head is split"),
        pytest.param(
            DEEPSEEK_V3,
            (LAYER + "self_attn.kv_a_proj_with_mqa.weight", "BF16", (64, 8), 1),
            8,
            1024,
            id="what makes a latent is on every rank",
        ),
        pytest.param(
            DEEPSEEK_V3,
            ("model.layers.61.mlp.up_proj.weight", "BF16", (64, 8), 1),
            1,
            0,
            id="a layer beyond the last is not loaded",
        ),
        pytest.param(
            MIXTRAL,
            (LAYER + "block_sparse_moe.gate.weight", "BF16", (8, 8), 1),
            8,
            128,
            id="a router is on every rank",
        ),
        pytest.param(
            GPT_OSS_120B,
            (LAYER + "mlp.experts.down_proj_blocks", "U8", (720, 8), 1),
            4,
            1638,
            id="MXFP4 experts are padded: 720 of 2,880 to 768, and their input to 3,072",
        ),
        pytest.param(
            LLAMA_8B | {"vision_config": {"num_heads": 6}},
            ("visual.blocks.0.mlp.weight", "BF16", (64, 8), 1),
            4,
            1024,
            id="an encoder whose heads do not divide is whole",
        ),
        pytest.param(
            LLAMA_8B, ("mtp.layers.0.mlp.weight", "BF16", (64, 8), 1), 1, 0, id="a drafting head is skipped"
        ),
        pytest.param(
            LLAMA_8B | {"torch_dtype": "float32"},
            (LAYER + "mlp.up_proj.weight", "F32", (16, 8), 1),
            1,
            256,
            id="FP32 is loaded in 16 bits",
        ),
    ],
)
def test_a_tensor_on_one_of_many_ranks(
    config: dict[str, Any], tensor: Tensor, ranks: int, size_bytes: int
) -> None:
    model = of_tensors(config, tensor)
    (found,) = stage_bytes(model.parts, model.layout, ranks, 1)
    assert found == pytest.approx(size_bytes, abs=2)


@pytest.mark.parametrize(
    ("tensor", "pipeline", "gibibytes"),
    [
        pytest.param(1, 2, 7.48, id="two stages: a log says 7.51 GiB with the positions"),
        pytest.param(1, 4, 4.23, id="of four stages the ends carry the vocabulary: 4.26, not 3.74"),
        pytest.param(4, 1, 3.74, id="four ranks share it: 3.77"),
    ],
)
def test_the_largest_rank_of_llama_8b(tensor: int, pipeline: int, gibibytes: float) -> None:
    model = facts(LLAMA_8B)
    largest = max(stage_bytes(model.parts, model.layout, tensor, pipeline))
    assert largest / (1 << 30) == pytest.approx(gibibytes, abs=0.01)
    assert model.resident_bytes == 32 * MEBIBYTE


@pytest.mark.parametrize(
    ("tensor", "hopper", "gibibytes"),
    [
        pytest.param(1, False, 65.97, id="by most GPUs' kernels"),
        pytest.param(4, False, 17.22, id="by most GPUs' kernels, on four ranks"),
        pytest.param(1, True, 64.38, id="by Hopper's"),
    ],
)
@pytest.mark.parametrize(
    "stored",
    [
        pytest.param(None, id="announced by the config"),
        pytest.param(65_248_815_744, id="as stored"),
        pytest.param(GPT_OSS_120B_BYTES, id="as a Hopper GPU loaded it"),
    ],
)
def test_padded_experts_take_what_logs_of_gpt_oss_say(
    tensor: int, hopper: bool, gibibytes: float, stored: int | None
) -> None:
    model = facts(GPT_OSS_120B, stored)
    (found,) = stage_bytes(model.parts, model.layout, tensor, 1, hopper=hopper)
    assert found / (1 << 30) == pytest.approx(gibibytes, rel=0.006)
    assert model.weight_bytes / (1 << 30) == pytest.approx(60.8, abs=0.3)


def test_a_head_that_is_not_stored_is_the_embedding_on_both_ends() -> None:
    embedding: Tensor = ("model.embed_tokens.weight", "BF16", (64, 8), 1)
    tied = of_tensors(LLAMA_8B, embedding)
    untied = of_tensors(LLAMA_8B, embedding, ("lm_head.weight", "BF16", (64, 8), 1))
    assert stage_bytes(tied.parts, tied.layout, 1, 2) == (1024, 1024)
    assert stage_bytes(untied.parts, untied.layout, 1, 2) == (1024, 1024)
    assert (tied.weight_bytes, untied.weight_bytes) == (1024, 2048)

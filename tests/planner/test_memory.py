"""The parts of the arithmetic, against figures that engine logs and model cards state."""

from __future__ import annotations

from typing import Any

import pytest

from tertium.api.v1alpha1 import Capacity
from tertium.core.planner import GpuPool
from tertium.core.planner import memory as parts
from tests.planner.models import (
    H100,
    L4,
    LLAMA_8B,
    LLAMA_8B_BYTES,
    PHI_4,
    PHI_4_BYTES,
    SMALL,
    TINY_LLAMA,
    TINY_LLAMA_BYTES,
    facts,
)

QWEN2_7B = LLAMA_8B | {"num_hidden_layers": 28, "num_key_value_heads": 4, "head_dim": 128}
DEEPSEEK_V3 = LLAMA_8B | {"num_hidden_layers": 61, "kv_lora_rank": 512, "qk_rope_head_dim": 64}
H100_PCIE = GpuPool(product="NVIDIA-H100-PCIe", memory_mebibytes=81559, gpus_per_node=8)


@pytest.mark.parametrize(
    ("config", "tensor", "size_bytes"),
    [
        pytest.param(LLAMA_8B, 1, 131_072, id="llama 8B keeps 128 KiB a token"),
        pytest.param(QWEN2_7B, 1, 57_344, id="Qwen2 7B keeps 56 KiB a token"),
        pytest.param(QWEN2_7B, 2, 28_672, id="two ranks keep half each"),
        pytest.param(QWEN2_7B, 8, 14_336, id="more ranks than KV heads keep copies"),
        pytest.param(DEEPSEEK_V3, 1, 70_272, id="a latent is small"),
        pytest.param(DEEPSEEK_V3, 8, 70_272, id="a latent is on every rank in full"),
        pytest.param(TINY_LLAMA, 1, 32_768, id="the tiny llama keeps 32 KiB a token"),
    ],
)
def test_kv_cache_of_a_token(config: dict[str, Any], tensor: int, size_bytes: int) -> None:
    assert parts.kv_bytes_per_token(facts(config, 1), tensor) == size_bytes


@pytest.mark.parametrize(
    ("tokens", "blocks"),
    [
        pytest.param(16, 2, id="one block and the null block"),
        pytest.param(17, 3, id="a token more is a block more"),
    ],
)
def test_kv_cache_is_counted_in_blocks(tokens: int, blocks: int) -> None:
    assert parts.kv_bytes(facts(LLAMA_8B, 1), 1, tokens) == blocks * 16 * 131_072


@pytest.mark.parametrize(
    ("tensor", "mebibytes"),
    [
        pytest.param(1, 15317, id="one rank loads what is on disk: 14.96 GiB"),
        pytest.param(2, 7812, id="two ranks load a little more than half each"),
        pytest.param(16, 1009, id="sixteen ranks hold each KV projection twice"),
    ],
)
def test_weights_of_a_rank(tensor: int, mebibytes: int) -> None:
    assert parts.weights_mebibytes(facts(LLAMA_8B, LLAMA_8B_BYTES), tensor) == mebibytes


@pytest.mark.parametrize(
    ("pool", "tensor", "mebibytes"),
    [
        pytest.param(H100, 1, 307, id="one GPU has no collectives"),
        pytest.param(H100, 2, 2253, id="NVLink buffers are large"),
        pytest.param(H100_PCIE, 2, 717, id="a PCIe card of the same generation has none"),
        pytest.param(L4, 4, 717, id="so has an L4"),
    ],
)
def test_memory_outside_the_allocator(pool: GpuPool, tensor: int, mebibytes: int) -> None:
    assert parts.non_torch_mebibytes(pool, tensor) == mebibytes


@pytest.mark.parametrize(
    ("config", "sequences", "measured_gibibytes"),
    [
        pytest.param(LLAMA_8B, 1024, 1.93, id="llama 8B with 1024 sequences: logs say 1.89 to 1.97 GiB"),
        pytest.param(PHI_4, 1024, 1.52, id="phi-4 with 1024 sequences: logs say 1.52 GiB"),
    ],
)
def test_activation_is_what_logs_say(
    config: dict[str, Any], sequences: int, measured_gibibytes: float
) -> None:
    mebibytes = parts.activation_mebibytes(facts(config, 1), 1, sequences, 8192)
    assert mebibytes / 1024 == pytest.approx(measured_gibibytes, abs=0.15)


def test_fewer_sequences_capture_fewer_graphs() -> None:
    model = facts(LLAMA_8B, LLAMA_8B_BYTES)
    assert [parts.graph_mebibytes(model, count) for count in (1, 4, 64, 256, 1024)] == [
        277,
        306,
        525,
        992,
        992,
    ]


@pytest.mark.parametrize(
    ("pool", "budget"),
    [
        pytest.param(H100, 74563, id="an H100 has 79.2 GiB for CUDA, 92 % of it for the engine"),
        pytest.param(SMALL, 1828, id="on a small device the driver's share is bounded"),
    ],
)
def test_the_budget_is_less_than_the_label(pool: GpuPool, budget: int) -> None:
    assert parts.budget_mebibytes(pool) == budget


def test_a_forward_pass_holds_a_token_of_every_sequence() -> None:
    many = Capacity(concurrent_sequences=4096)
    assert [parts.batched_tokens(pool, many) for pool in (L4, H100)] == [4096, 8192]


def test_the_parts_add_up() -> None:
    plan = parts.memory(facts(PHI_4, PHI_4_BYTES), H100, 2, Capacity())
    assert plan.needed == plan.weights + plan.overhead + plan.kv_cache
    assert plan.headroom == plan.budget - plan.needed


def test_the_margin_grows_with_the_weights() -> None:
    assert parts.margin_mebibytes(H100, 70_000) == 700
    assert (
        parts.margin_mebibytes(SMALL, parts.weights_mebibytes(facts(TINY_LLAMA, TINY_LLAMA_BYTES), 1)) == 102
    )

"""The KV cache by kind of layer, against the figures that engines printed for well-known models."""

from __future__ import annotations

from typing import Any

import pytest

from tertium.core.planner.kv import Demand, Pool, pool_of
from tests.planner.models import (
    DEEPSEEK_V3,
    GEMMA_2_9B,
    GLM_5,
    GPT_OSS_120B,
    KIMI_LINEAR,
    LLAMA_4_SCOUT,
    LLAMA_8B,
    MINIMAX_M2,
    MINIMAX_M3,
    NEMOTRON_H,
    QWEN2_7B,
    QWEN3_6_27B,
    QWEN3_CODER_480B,
    facts,
)

GIBIBYTE = 1 << 30


def pool(config: dict[str, Any], tensor: int = 1, element: int = 2, batch: int = 8192) -> Pool:
    demand = Demand(tensor=tensor, element_bytes=element, in_flight_tokens=2 * batch, states=1)
    return pool_of(facts(config).caches, demand)


def sequence_bytes(cache: Pool, tokens: int) -> int:
    return cache.block_bytes * cache.blocks(tokens)


@pytest.mark.parametrize(
    ("config", "tensor", "element", "tokens", "gibibytes"),
    [
        pytest.param(QWEN3_CODER_480B, 1, 2, 262144, 62.0, id="Qwen3 Coder 480B: a log says 62.0 GiB"),
        pytest.param(MINIMAX_M2, 2, 2, 196608, 23.25, id="MiniMax M2 on two ranks: a log says 23.25 GiB"),
        pytest.param(
            DEEPSEEK_V3, 8, 1, 262144, 8.578, id="a latent in 8 bits: Kimi K2.5's log says 8.58 GiB"
        ),
        pytest.param(MINIMAX_M3, 8, 2, 1048576, 44.25, id="MiniMax M3's index: a log says 44.25 GiB"),
    ],
)
def test_one_sequence_takes_what_a_log_says(
    config: dict[str, Any], tensor: int, element: int, tokens: int, gibibytes: float
) -> None:
    found = sequence_bytes(pool(config, tensor, element), tokens)
    assert found / GIBIBYTE == pytest.approx(gibibytes, abs=0.003)


@pytest.mark.parametrize(
    ("config", "tensor", "element", "size_bytes"),
    [
        pytest.param(LLAMA_8B, 1, 2, 131_072, id="llama 8B keeps 128 KiB a token"),
        pytest.param(LLAMA_8B, 1, 1, 65_536, id="in 8 bits half of it"),
        pytest.param(QWEN2_7B, 1, 2, 57_344, id="Qwen2 7B keeps 56 KiB a token"),
        pytest.param(QWEN2_7B, 2, 2, 28_672, id="two ranks keep half each"),
        pytest.param(QWEN2_7B, 28, 2, 14_336, id="more ranks than KV heads keep copies"),
        pytest.param(DEEPSEEK_V3, 1, 2, 70_272, id="a latent is small"),
        pytest.param(DEEPSEEK_V3, 8, 2, 70_272, id="a latent is on every rank in full"),
        pytest.param(
            GLM_5, 8, 1, 61_464, id="a sparse latent in 8 bits, with its index: GLM 5.1's log agrees"
        ),
    ],
)
def test_one_token_takes(config: dict[str, Any], tensor: int, element: int, size_bytes: int) -> None:
    cache = pool(config, tensor, element)
    tokens = cache.groups[0].block_tokens
    assert cache.block_bytes == size_bytes * tokens


def test_a_state_grows_the_blocks_beside_it() -> None:
    # Logs of Qwen3.6 27B: blocks of 784 tokens; 31.24 GiB hold 652 of them, 8.82 GiB hold 184.
    cache = pool(QWEN3_6_27B)
    assert cache.groups[0].block_tokens == 784
    assert cache.block_bytes == 51_380_224
    assert [cache.count(int(gibibytes * GIBIBYTE)) for gibibytes in (31.24, 8.82)] == [652, 184]
    assert cache.recurrent


@pytest.mark.parametrize(
    ("config", "tensor", "tokens"),
    [
        pytest.param(QWEN3_6_27B, 2, 784, id="both halve with the ranks"),
        pytest.param(KIMI_LINEAR, 1, 1920, id="beside a latent they are multiples of 128"),
        pytest.param(KIMI_LINEAR, 2, 1024, id="a latent does not halve, the state does"),
        pytest.param(NEMOTRON_H, 1, 1040, id="a state in FP32 of a Mamba layer"),
    ],
)
def test_tokens_of_a_block_beside_a_state(config: dict[str, Any], tensor: int, tokens: int) -> None:
    assert {group.block_tokens for group in pool(config, tensor).groups} == {tokens}


def test_a_window_bounds_what_a_sequence_keeps() -> None:
    short, long = (pool(GPT_OSS_120B, batch=2048).blocks(tokens) for tokens in (16, 131072))
    # 18 layers of each kind make a group each: all tokens, and window - 1 with two batches in flight.
    assert short == 1 + 2
    assert long == 8192 + -(-(127 + 2 * 2048) // 16) + 1


def test_a_chunk_bounds_it_too_but_needs_no_block_more() -> None:
    # 12 layers see everything, 36 see chunks of 8,192 tokens: three groups of chunks.
    cache = pool(LLAMA_4_SCOUT, batch=2048)
    assert cache.blocks(131072) == 8192 + 3 * (8192 + 2 * 2048) // 16


def test_layers_of_two_kinds_share_blocks() -> None:
    # 21 layers of full attention and 21 with windows: two groups of 21 layers.
    cache = pool(GEMMA_2_9B)
    assert [group.count for group in cache.groups] == [1, 1]
    assert cache.block_bytes == 21 * 16 * 8 * 512 * 2


def test_the_null_block_is_counted() -> None:
    cache = pool(LLAMA_8B)
    assert cache.need(16) == 2 * cache.block_bytes
    assert cache.need(17) == 3 * cache.block_bytes


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(LLAMA_8B, id="full attention"),
        pytest.param(GPT_OSS_120B, id="windows"),
        pytest.param(QWEN3_6_27B, id="states"),
        pytest.param(DEEPSEEK_V3, id="latents"),
    ],
)
def test_the_longest_sequence_fits_and_one_token_more_does_not(config: dict[str, Any]) -> None:
    cache = pool(config)
    room = cache.block_bytes * 2000
    longest = cache.longest(room, 1 << 30)
    assert cache.need(longest) <= room < cache.need(longest + 1)


def test_an_encoder_keeps_nothing() -> None:
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "num_hidden_layers": 12,
        "hidden_size": 768,
        "num_attention_heads": 12,
        "vocab_size": 30522,
    }
    cache = pool(config)
    assert (cache.need(512), cache.longest(1, 512)) == (0, 512)

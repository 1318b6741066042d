"""Verdicts on one shape, in words, and against starts that were seen."""

from __future__ import annotations

from typing import Any

import pytest

from tertium.core.planner import GpuPool, Label, Measured, judge
from tests.planner.models import (
    DEEPSEEK_V3,
    GPT_OSS_120B,
    GPT_OSS_120B_BYTES,
    H100,
    L4,
    LLAMA_8B,
    LLAMA_70B,
    MINIMAX_M3,
    MIXTRAL,
    PHI_4,
    QWEN3_6_27B,
    facts,
    request,
)

GIB = 1024
LOGGED = {"engine_version": "0.19.0", "utilization_hundredths": 95}
RTX_3090 = GpuPool(product="RTX 3090", memory_mebibytes=24145, gpus_per_node=1)
A10G = GpuPool(product="A10G", memory_mebibytes=22579, gpus_per_node=1)


@pytest.mark.parametrize(
    ("config", "shape", "asked", "words"),
    [
        pytest.param(LLAMA_8B, (1, 1), {}, "Fits (headroom 55.1 GiB)", id="what fits says how much is left"),
        pytest.param(
            LLAMA_70B,
            (2, 1),
            {"context": 12288},
            "Tight (headroom 1.0 GiB)",
            id="little more than the margin is tight",
        ),
        pytest.param(
            LLAMA_70B,
            (2, 1),
            {"context": 32768},
            "DoesNotFit: needs 2 more GPUs or contextTokens ≤ 14,368 (lacks 2.8 GiB per GPU)",
            id="what does not fit says what would",
        ),
        pytest.param(
            LLAMA_70B,
            (2, 1),
            {"context": 8192, "sequences": 1024},
            "DoesNotFit: needs 2 more GPUs or maxNumSeqs ≤ 634 or contextTokens ≤ 3,920 "
            "(lacks 0.7 GiB per GPU)",
            id="with fewer sequences too",
        ),
        pytest.param(
            PHI_4,
            (3, 1),
            {},
            "Invalid: 40 attention heads do not divide by 3",
            id="a rule that is broken",
        ),
        pytest.param(
            LLAMA_8B,
            (1, 1),
            {"context": 200_000},
            "Invalid: a context of 200,000 is more than the 131,072 tokens this model takes",
            id="a context that is too long",
        ),
        pytest.param(
            LLAMA_8B,
            (1, 1),
            {"sequences": 64, "max_num_batched_tokens": 32},
            "Invalid: 32 batched tokens are fewer than 64 sequences",
            id="a batch that cannot hold the sequences",
        ),
        pytest.param(
            LLAMA_8B,
            (2, 1),
            {"utilization_hundredths": 99},
            "DoesNotFit: 1.3 GiB too little memory is left beside the budget for the CUDA context; "
            "use at most 97 % of the GPU",
            id="a budget that leaves too little",
        ),
        pytest.param(
            LLAMA_8B | {"architectures": ["NewForCausalLM"]},
            (1, 1),
            {},
            "Unverified (headroom 55.1 GiB; "
            "NewForCausalLM was not compared with the engine's own arithmetic)",
            id="an unknown architecture is never a fact",
        ),
    ],
)
def test_a_verdict_in_words(
    config: dict[str, Any], shape: tuple[int, int], asked: dict[str, Any], words: str
) -> None:
    assert judge(facts(config), H100, request(**asked), *shape).text == words


def test_every_sequence_of_a_recurrent_model_needs_a_block() -> None:
    found = judge(facts(QWEN3_6_27B), H100, request(8192, 1024), 1)
    assert found.label is Label.DOES_NOT_FIT
    assert found.reason == (
        "needs 1 more GPU or maxNumSeqs ≤ 398 (1,024 sequences need a state each, the cache holds 356)"
    )
    assert judge(facts(QWEN3_6_27B), H100, request(8192, 256), 1).fits
    assert judge(facts(QWEN3_6_27B), H100, request(8192, 1024, enforce_eager=True), 1).fits


@pytest.mark.parametrize(
    ("config", "shape", "gibibytes"),
    [
        pytest.param(LLAMA_8B, (1, 1), 58.11, id="llama 8B"),
        pytest.param(LLAMA_8B, (2, 1), 63.76, id="on two ranks"),
        pytest.param(LLAMA_8B, (4, 1), 67.44, id="on four ranks"),
        pytest.param(PHI_4, (1, 1), 46.08, id="phi-4"),
        pytest.param(MIXTRAL, (2, 1), 28.44, id="Mixtral on two ranks"),
    ],
)
def test_what_is_left_for_the_cache_is_what_logs_say(
    config: dict[str, Any], shape: tuple[int, int], gibibytes: float
) -> None:
    found = judge(facts(config), H100, request(8192, 1024, **LOGGED), *shape)
    assert found.available_kv / GIB == pytest.approx(gibibytes, abs=0.15)


@pytest.mark.parametrize(
    ("config", "pool", "shape", "asked", "starts"),
    [
        pytest.param(
            LLAMA_8B, RTX_3090, (1, 1), {"context": 20000}, True, id="llama 8B on a 3090, 20,000 tokens"
        ),
        pytest.param(LLAMA_8B, RTX_3090, (1, 1), {"context": 29000}, False, id="not with 29,000 at once"),
        pytest.param(LLAMA_8B, A10G, (1, 1), {"context": 8192}, True, id="on an A10G, 8,192 tokens"),
        pytest.param(LLAMA_8B, A10G, (1, 1), {"context": 131072}, False, id="not with 131,072"),
        pytest.param(
            GPT_OSS_120B,
            H100,
            (1, 1),
            {"context": 131072, "max_num_batched_tokens": 1024, "utilization_hundredths": 95},
            False,
            id="gpt-oss 120B with a sampler that sorts",
        ),
        pytest.param(MINIMAX_M3, H100, (8, 1), {"context": 1048576}, False, id="MiniMax M3 on 8 H100"),
        pytest.param(DEEPSEEK_V3, H100, (8, 1), {}, False, id="DeepSeek V3 on 8 H100"),
    ],
)
def test_starts_that_were_seen_by_engines_of_an_unknown_version(
    config: dict[str, Any],
    pool: GpuPool,
    shape: tuple[int, int],
    asked: dict[str, Any],
    starts: bool,
) -> None:
    wanted = request(**{"sequences": None, "engine_version": "", "utilization_hundredths": 90} | asked)
    stored = GPT_OSS_120B_BYTES if config is GPT_OSS_120B else None
    assert judge(facts(config, stored), pool, wanted, *shape).fits is starts


def test_a_verdict_states_every_assumption_as_a_flag() -> None:
    found = judge(facts(LLAMA_8B), L4, request(4096, None, kv_cache="fp8"), 1, 2)
    assert found.flags == (
        "--tensor-parallel-size=1",
        "--pipeline-parallel-size=2",
        "--max-model-len=4096",
        "--max-num-seqs=256",
        "--max-num-batched-tokens=2048",
        "--gpu-memory-utilization=0.92",
        "--kv-cache-dtype=fp8",
        "--max-cudagraph-capture-size=512",
    )
    eager = judge(facts(LLAMA_8B), L4, request(4096, 1, enforce_eager=True, utilization_hundredths=100), 8)
    assert eager.flags[-3:] == ("--gpu-memory-utilization=1.00", "--kv-cache-dtype=auto", "--enforce-eager")


SCALED_CACHE = {"type": "float", "num_bits": 8, "dynamic": False}
MODELOPT = {"quant_method": "modelopt", "quant_algo": "FP8"}
APART = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8"}}


@pytest.mark.parametrize(
    ("scheme", "asked", "flag"),
    [
        pytest.param(MODELOPT | {"kv_cache_scheme": SCALED_CACHE}, {}, "fp8", id="in the config"),
        pytest.param(
            APART | {"quantization": APART["quantization"] | {"kv_cache_quant_algo": "FP8"}},
            {},
            "fp8",
            id="in the exporter's own file",
        ),
        pytest.param(
            {"quant_method": "compressed-tensors", "kv_cache_scheme": SCALED_CACHE},
            {},
            "fp8",
            id="by compressed tensors",
        ),
        pytest.param(
            MODELOPT | {"kv_cache_scheme": SCALED_CACHE},
            {"kv_cache": "bfloat16"},
            "bfloat16",
            id="16 bits were asked for",
        ),
        pytest.param(
            MODELOPT | {"kv_cache_scheme": SCALED_CACHE},
            {"engine_version": "0.13.0"},
            "auto",
            id="a release that does not read it",
        ),
        pytest.param(
            MODELOPT | {"kv_cache_scheme": SCALED_CACHE | {"dynamic": True}}, {}, "auto", id="without scales"
        ),
        pytest.param(MODELOPT | {"kv_cache_scheme": None}, {}, "auto", id="not wanted"),
        pytest.param(
            {"quant_method": "fp8", "kv_cache_scheme": SCALED_CACHE},
            {},
            "auto",
            id="not read by this method",
        ),
    ],
)
def test_a_checkpoint_may_want_its_cache_in_8_bits(
    scheme: dict[str, Any], asked: dict[str, Any], flag: str
) -> None:
    found = judge(facts(LLAMA_8B | {"quantization_config": scheme}), H100, request(8192, **asked), 1)
    assert f"--kv-cache-dtype={flag}" in found.flags
    assert found.memory is not None
    assert found.memory.kv_cache == (513 if flag == "fp8" else 1026)


def test_the_cache_is_counted_in_tokens_and_sequences() -> None:
    found = judge(facts(LLAMA_8B), H100, request(8192, 64), 1)
    assert found.memory is not None
    assert found.available_kv == found.memory.available_kv
    assert found.kv_tokens // 8192 == found.max_concurrency_hundredths // 100
    assert found.kv_tokens == pytest.approx(found.available_kv * GIB * GIB // 131_072, abs=100)


def test_what_the_engine_measured_replaces_the_arithmetic() -> None:
    asked = request(32768, 64)
    planned = judge(facts(LLAMA_70B), H100, asked, 2)
    assert not planned.fits
    seen = Measured(weights=67_000, non_torch=500, available_kv=6000)
    found = judge(facts(LLAMA_70B), H100, asked, 2, measured=seen)
    assert found.fits
    assert found.memory is not None
    assert (found.memory.weights, found.available_kv, found.memory.margin) == (67_000, 6000, 0)

"""Which splits the engine accepts."""

from __future__ import annotations

from typing import Any

import pytest

from tertium.core.planner import Refused, judge, size
from tertium.core.planner.legal import unsupported, violation
from tertium.core.planner.releases import releases_of
from tests.planner.models import (
    DEEPSEEK_V3,
    H100,
    KIMI_LINEAR,
    LLAMA_8B,
    LLAMA_70B,
    MINIMAX_M2,
    MIXTRAL,
    NEMOTRON_H,
    PHI_4,
    QWEN3_6_27B,
    QWEN3_14B,
    QWEN3_CODER_480B,
    SMOLLM2,
    facts,
    request,
    spec,
)

AWQ = {"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128}}
QWEN_AWQ = LLAMA_70B | {"intermediate_size": 29568} | AWQ


def broken(config: dict[str, Any], tensor: int, pipeline: int = 1, version: str = "0.32.0") -> str | None:
    (release,) = releases_of(version)
    return violation(facts(config), release, tensor, pipeline)


@pytest.mark.parametrize(
    ("config", "tensor", "words"),
    [
        pytest.param(SMOLLM2, 2, "9 attention heads do not divide by 2", id="nine heads do not halve"),
        pytest.param(LLAMA_70B, 6, "64 attention heads do not divide by 6", id="nor do 64 by six"),
        pytest.param(
            PHI_4, 4, "10 KV heads neither divide by 4 nor divide it", id="ten KV heads do not quarter"
        ),
        pytest.param(
            QWEN3_14B | {"num_key_value_heads": 5},
            5,
            "the padded vocabulary of 151,936 does not divide by 5",
            id="a vocabulary that does not divide by five",
        ),
        pytest.param(
            LLAMA_8B | {"intermediate_size": 14330},
            4,
            "the intermediate size of 14,330 does not divide by 4",
            id="the feed-forward layer must divide",
        ),
        pytest.param(
            LLAMA_8B | {"vocab_size": 128255}, 8, None, id="the padded vocabulary counts, not the raw one"
        ),
        pytest.param(LLAMA_8B, 16, None, id="KV heads are copied when there are more ranks"),
        pytest.param(DEEPSEEK_V3, 16, None, id="latent attention has no rule for KV heads"),
        pytest.param(
            DEEPSEEK_V3,
            32,
            "the intermediate size of 18,432 split by 32 is 576, "
            "not a multiple of the quantization block of 128",
            id="a split must not cut a block of FP8",
        ),
        pytest.param(
            QWEN_AWQ,
            2,
            "the intermediate size of 29,568 split by 2 is 14,784, "
            "not a multiple of the quantization group of 128",
            id="nor a group of AWQ",
        ),
        pytest.param(
            QWEN3_6_27B, 16, "24 attention heads do not divide by 16", id="24 heads do not make sixteen"
        ),
        pytest.param(KIMI_LINEAR, 4, None, id="recurrent heads that divide"),
        pytest.param(
            NEMOTRON_H,
            16,
            "8 groups of its state-space layers do not divide by 16",
            id="groups of a state-space layer must divide, unless there is one",
        ),
        pytest.param(
            QWEN3_CODER_480B | {"num_experts": 4, "moe_intermediate_size": 2048},
            8,
            "8 is more than its 4 experts",
            id="some families want an expert for every rank",
        ),
        pytest.param(MIXTRAL, 16, None, id="others do not"),
        pytest.param(
            LLAMA_8B | {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}},
            1,
            "the engine no longer reads bitsandbytes weights",
            id="bitsandbytes is gone",
        ),
    ],
)
def test_the_first_rule_that_is_broken_is_said(
    config: dict[str, Any], tensor: int, words: str | None
) -> None:
    assert broken(config, tensor) == words


@pytest.mark.parametrize(
    ("config", "sizes"),
    [
        pytest.param(PHI_4, [1, 2], id="phi-4 runs on one or two GPUs"),
        pytest.param(LLAMA_8B, [1, 2, 4, 8, 16], id="llama 8B runs on powers of two"),
        pytest.param(SMOLLM2, [1, 3], id="SmolLM2 runs on one or three"),
    ],
)
def test_legal_sizes_of_known_models(config: dict[str, Any], sizes: list[int]) -> None:
    assert [tensor for tensor in range(1, 17) if broken(config, tensor) is None] == sizes


@pytest.mark.parametrize(
    ("version", "accepted"),
    [
        pytest.param("0.23.0", False, id="older engines want whole blocks: 192 is none"),
        pytest.param("0.32.0", True, id="newer ones refine blocks of experts down to 32"),
    ],
)
def test_blocks_of_experts(version: str, accepted: bool) -> None:
    assert (broken(MINIMAX_M2, 8, version=version) is None) is accepted


@pytest.mark.parametrize(
    ("ranks", "valid"),
    [
        pytest.param(8, True, id="a shape that only newer releases take may be asked of it"),
        pytest.param(5, False, id="one that none takes may not"),
    ],
)
def test_an_engine_of_an_unknown_version(ranks: int, valid: bool) -> None:
    assert judge(facts(MINIMAX_M2), H100, request(engine_version=""), ranks).valid is valid
    pinned = size(facts(MINIMAX_M2), [H100], spec(tensor=ranks), engine_version="")
    assert (isinstance(pinned, Refused) and "is impossible" in pinned.message) is not valid


def test_a_block_of_experts_is_not_refined_below_32() -> None:
    small = QWEN3_CODER_480B | {
        "moe_intermediate_size": 768,
        "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
    }
    assert broken(small, 16) == (
        "the experts' intermediate size of 768 split by 16 is 48, "
        "not a multiple of 32, which its quantization blocks of 128 need"
    )


def test_a_pipeline_needs_a_layer_for_every_stage() -> None:
    assert broken(NEMOTRON_H, 1, 5) == "4 layers cannot make 5 pipeline stages"
    assert broken(NEMOTRON_H, 1, 4) is None


def test_an_architecture_that_an_engine_no_longer_has() -> None:
    old = facts(LLAMA_8B | {"architectures": ["QWenLMHeadModel"]})
    assert unsupported(old, (0, 23)) is None
    assert unsupported(old, None) is None
    assert unsupported(old, (0, 24)) == "the engine supports QWenLMHeadModel up to 0.23 only"

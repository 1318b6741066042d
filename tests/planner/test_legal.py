"""Which sizes the engine accepts."""

from __future__ import annotations

from typing import Any

import pytest

from tertium.core.planner.legal import violation
from tests.planner.models import LLAMA_8B, PHI_4, SMOLLM2, facts

FALCON_H1_LIKE = LLAMA_8B | {"num_attention_heads": 20, "num_key_value_heads": 4}
QWEN3_14B = LLAMA_8B | {
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "vocab_size": 151936,
    "intermediate_size": 17408,
}
LATENT = LLAMA_8B | {"num_key_value_heads": 3, "kv_lora_rank": 512, "qk_rope_head_dim": 64}


@pytest.mark.parametrize(
    ("config", "tensor", "words"),
    [
        pytest.param(SMOLLM2, 2, "9 attention heads do not divide by 2", id="nine heads do not halve"),
        pytest.param(
            PHI_4, 4, "10 KV heads neither divide by 4 nor divide it", id="ten KV heads do not quarter"
        ),
        pytest.param(
            PHI_4 | {"num_key_value_heads": 5},
            10,
            "the padded vocabulary of 100,352 does not divide by 10",
            id="KV heads may be copied, the vocabulary must divide",
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
        pytest.param(LATENT, 8, None, id="latent attention has no rule for KV heads"),
    ],
)
def test_the_first_rule_that_is_broken_is_said(
    config: dict[str, Any], tensor: int, words: str | None
) -> None:
    assert violation(facts(config, 1), tensor) == words


@pytest.mark.parametrize(
    ("config", "sizes"),
    [
        pytest.param(PHI_4, [1, 2], id="phi-4 runs on one or two GPUs"),
        pytest.param(FALCON_H1_LIKE, [1, 2, 4], id="20 heads with 4 KV heads run on up to four"),
        pytest.param(LLAMA_8B, [1, 2, 4, 8, 16], id="llama 8B runs on powers of two"),
        pytest.param(SMOLLM2, [1, 3], id="SmolLM2 runs on one or three"),
    ],
)
def test_legal_sizes_of_known_models(config: dict[str, Any], sizes: list[int]) -> None:
    assert [tensor for tensor in range(1, 17) if violation(facts(config, 1), tensor) is None] == sizes

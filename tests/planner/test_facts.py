"""What the planner reads from a config.json."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tertium.api.conditions import Reason
from tertium.core.errors import Terminal
from tertium.core.planner import ModelFacts
from tests.planner.models import LLAMA_8B, LLAMA_8B_BYTES, facts

GPT2 = {"n_layer": 12, "n_embd": 768, "n_head": 12, "vocab_size": 50257, "n_positions": 1024}


def test_a_plain_llama_is_read_field_by_field() -> None:
    assert facts(LLAMA_8B, LLAMA_8B_BYTES) == ModelFacts(
        layers=32,
        hidden=4096,
        heads=32,
        kv_heads=8,
        head_dim=128,
        intermediate=14336,
        vocabulary=128256,
        max_positions=131072,
        latent_bytes_per_token=0,
        mixture_of_experts=False,
        weight_bytes=LLAMA_8B_BYTES,
        digest="sha256:0",
    )


def test_facts_are_read_from_json_text_too() -> None:
    document = {"config": LLAMA_8B, "weightBytes": LLAMA_8B_BYTES, "revision": "abc", "digest": "sha256:0"}
    assert ModelFacts.parse(json.dumps(document)).revision == "abc"


@pytest.mark.parametrize(
    ("config", "field", "expected"),
    [
        pytest.param(GPT2, "layers", 12, id="GPT-2 spells its fields otherwise"),
        pytest.param(GPT2, "kv_heads", 12, id="without KV heads every head has its own"),
        pytest.param(GPT2, "head_dim", 64, id="without head_dim the heads share the hidden size"),
        pytest.param(
            GPT2, "intermediate", 3072, id="without a width the feed-forward layer is four times hidden"
        ),
        pytest.param(GPT2, "max_positions", 1024, id="learned positions limit the context"),
        pytest.param(
            {"text_config": LLAMA_8B}, "layers", 32, id="the text part of a multimodal model counts"
        ),
        pytest.param(
            LLAMA_8B | {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
            "max_positions",
            262144,
            id="linear scaling lengthens the context",
        ),
        pytest.param(
            LLAMA_8B | {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}},
            "max_positions",
            131072,
            id="llama3 scaling is in max_position_embeddings already",
        ),
        pytest.param(
            LLAMA_8B | {"rope_scaling": {"type": "dynamic", "factor": 2}},
            "max_positions",
            262144,
            id="the older word for the kind of scaling is read",
        ),
        pytest.param(
            LLAMA_8B | {"torch_dtype": "float32"},
            "weight_bytes",
            LLAMA_8B_BYTES // 2,
            id="a float32 checkpoint is loaded in 16 bits",
        ),
        pytest.param(
            LLAMA_8B | {"kv_lora_rank": 512, "qk_rope_head_dim": 64},
            "latent_bytes_per_token",
            1152,
            id="latent attention keeps one latent per token",
        ),
        pytest.param(
            LLAMA_8B
            | {"kv_lora_rank": 512, "qk_rope_head_dim": 64, "index_topk": 2048, "index_head_dim": 128},
            "latent_bytes_per_token",
            1284,
            id="a sparse-attention indexer adds its keys",
        ),
        pytest.param(
            LLAMA_8B | {"num_local_experts": 8}, "mixture_of_experts", True, id="experts are recognized"
        ),
    ],
)
def test_a_field_is_read(config: dict[str, Any], field: str, expected: object) -> None:
    assert getattr(facts(config, LLAMA_8B_BYTES), field) == expected


PREFIX = "cannot size the model from its config.json: "


@pytest.mark.parametrize(
    ("config", "message"),
    [
        pytest.param(
            {key: value for key, value in LLAMA_8B.items() if key != "vocab_size"},
            "vocab_size is missing; the planner needs it as a whole number",
            id="a missing field is named",
        ),
        pytest.param(
            LLAMA_8B | {"num_hidden_layers": "many"},
            "num_hidden_layers or n_layer or num_layers is missing; the planner needs it as a whole number",
            id="a field of another type counts as missing",
        ),
        pytest.param(
            LLAMA_8B | {"mamba_num_heads": 64},
            "mamba_num_heads is set: models with state-space or linear-attention layers are not "
            "supported yet",
            id="a state-space model is refused",
        ),
        pytest.param(
            {"is_encoder_decoder": True},
            "is_encoder_decoder is true; only decoder models are supported",
            id="an encoder-decoder is refused",
        ),
    ],
)
def test_what_cannot_be_sized_is_refused_by_name(config: dict[str, Any], message: str) -> None:
    with pytest.raises(Terminal) as refused:
        facts(config, 1)
    assert str(refused.value) == PREFIX + message
    assert refused.value.reason is Reason.INSPECTION_FAILED

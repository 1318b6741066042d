"""What the planner reads from a config.json, and what it says of one it cannot read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tertium.api.conditions import Reason
from tertium.core.errors import Terminal
from tertium.core.planner import ModelFacts, TensorGroup
from tertium.core.planner.tensors import encode
from tests.planner.models import (
    DEEPSEEK_V3,
    GPT_OSS_120B,
    LLAMA_8B,
    LLAMA_8B_BYTES,
    MINIMAX_M2,
    MIXTRAL,
    QWEN3_6_27B,
    facts,
)

GPT2 = {
    "architectures": ["GPT2LMHeadModel"],
    "model_type": "gpt2",
    "n_layer": 12,
    "n_embd": 768,
    "n_head": 12,
    "vocab_size": 50257,
    "n_positions": 1024,
}
EXPORTED = LLAMA_8B | {
    "quantization_config": {
        "producer": {"name": "modelopt"},
        "quantization": {
            "quant_algo": "NVFP4",
            "group_size": 16,
            "exclude_modules": ["lm_head", "model.layers.*.self_attn*"],
        },
    }
}


@pytest.mark.parametrize(
    ("config", "path", "expected"),
    [
        pytest.param(LLAMA_8B, "shape.kv_heads", 8, id="a plain llama has its KV heads"),
        pytest.param(LLAMA_8B, "shape.head_width", 128, id="heads share the hidden size"),
        pytest.param(LLAMA_8B, "max_positions", 131072, id="and a longest sequence"),
        pytest.param(LLAMA_8B, "unverified", "", id="and is known"),
        pytest.param(GPT2, "shape.layers", 12, id="GPT-2 spells its fields otherwise"),
        pytest.param(GPT2, "shape.kv_heads", 12, id="without KV heads every head has its own"),
        pytest.param(GPT2, "feedforward.dense", 3072, id="without a width it is four times hidden"),
        pytest.param(GPT2, "feedforward.matrices", 2, id="and no gate multiplies it"),
        pytest.param(GPT2, "layout.tied", True, id="its output head is the embedding by default"),
        pytest.param(GPT2, "max_positions", 1024, id="learned positions limit the context"),
        pytest.param(QWEN3_6_27B, "shape.layers", 64, id="the text part of a multimodal model counts"),
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
        pytest.param(MIXTRAL, "feedforward.experts", 8, id="experts are recognized"),
        pytest.param(MIXTRAL, "feedforward.dense", 0, id="where every layer has them none is dense"),
        pytest.param(DEEPSEEK_V3, "feedforward.dense", 18432, id="unless the first layers are"),
        pytest.param(DEEPSEEK_V3, "feedforward.shared", 2048, id="shared experts are counted apart"),
        pytest.param(DEEPSEEK_V3, "quantization.block", (128, 128), id="FP8 may be stored in blocks"),
        pytest.param(MINIMAX_M2, "quantization.scheme", "fp8", id="FP8 is told by its method"),
        pytest.param(GPT_OSS_120B, "quantization.scheme", "mxfp4", id="so is MXFP4"),
        pytest.param(GPT_OSS_120B, "quantization.attention", False, id="which may leave attention alone"),
        pytest.param(EXPORTED, "quantization.scheme", "nvfp4", id="an exporter's own file is read as well"),
        pytest.param(EXPORTED, "quantization.group", 16, id="with its groups"),
        pytest.param(EXPORTED, "quantization.attention", False, id="and what it leaves alone"),
        pytest.param(
            LLAMA_8B | {"is_causal": False}, "generates", False, id="attention both ways keeps no cache"
        ),
        pytest.param(
            LLAMA_8B | {"architectures": ["NewForCausalLM"]},
            "unverified",
            "NewForCausalLM was not compared with the engine's own arithmetic",
            id="an unknown architecture is a bound",
        ),
        pytest.param(
            LLAMA_8B | {"layer_types": ["full_attention"] * 31 + ["hyper_attention"]},
            "unverified",
            "its layers of kind hyper_attention count as full attention",
            id="so is an unknown kind of layer",
        ),
    ],
)
def test_a_fact_is_read(config: dict[str, Any], path: str, expected: object) -> None:
    found: object = facts(config)
    for name in path.split("."):
        found = getattr(found, name)
    assert found == expected


PREFIX = "cannot size the model from its config.json: "


@pytest.mark.parametrize(
    ("config", "message"),
    [
        pytest.param(
            {key: value for key, value in LLAMA_8B.items() if key != "vocab_size"},
            "vocab_size or padded_vocab_size is missing; the planner needs it as a whole number",
            id="a missing field is named",
        ),
        pytest.param(
            LLAMA_8B | {"num_hidden_layers": "many"},
            "num_hidden_layers is 'many', expected a whole number",
            id="a field of another type is shown",
        ),
        pytest.param(
            LLAMA_8B | {"num_attention_heads": 0},
            "num_attention_heads is 0, expected at least 1",
            id="zero heads",
        ),
        pytest.param(
            LLAMA_8B | {"hidden_size": -4096},
            "hidden_size is -4096, expected 0 to 4294967296",
            id="a negative size",
        ),
        pytest.param(
            LLAMA_8B | {"intermediate_size": 10**30},
            "intermediate_size is 1000000000000000000000000000000, expected 0 to 4294967296",
            id="an absurd size",
        ),
        pytest.param(
            LLAMA_8B | {"num_hidden_layers": 100_000},
            "num_hidden_layers is 100000, expected at most 4096",
            id="more layers than there are",
        ),
        pytest.param(
            LLAMA_8B | {"num_key_value_heads": [8]},
            "num_key_value_heads is list, expected a whole number",
            id="a list for a number",
        ),
        pytest.param(
            LLAMA_8B | {"block_configs": [{}]},
            "block_configs has 1 entries, expected 32: one per layer",
            id="layers that are not all described",
        ),
        pytest.param(
            {"is_encoder_decoder": True},
            "is_encoder_decoder is true; only decoder and encoder models are supported",
            id="an encoder-decoder is refused",
        ),
    ],
)
def test_what_cannot_be_sized_is_refused_by_name(config: dict[str, Any], message: str) -> None:
    with pytest.raises(Terminal) as refused:
        facts(config, 1)
    assert str(refused.value) == PREFIX + message
    assert refused.value.reason is Reason.INSPECTION_FAILED


@pytest.mark.parametrize(
    ("document", "message"),
    [
        pytest.param("{", "the stored facts are not JSON: Expecting", id="broken JSON"),
        pytest.param("[]", "the stored facts are a list, expected an object", id="no object"),
        pytest.param({}, f"{PREFIX}it is a NoneType, expected an object", id="no config"),
        pytest.param(
            {"config": LLAMA_8B, "weightBytes": -1},
            "the weights take -1 bytes, expected 1 to 1125899906842624",
            id="negative weights",
        ),
        pytest.param(
            {"config": LLAMA_8B, "tensors": [["a", "BF16", [1]]]},
            "the stored list of tensors cannot be read",
            id="tensors of another form",
        ),
    ],
)
def test_facts_that_were_stored_by_nobody_are_refused(document: Any, message: str) -> None:
    with pytest.raises(Terminal) as refused:
        ModelFacts.parse(document)
    assert str(refused.value).startswith(message)


def test_facts_are_read_from_json_text_with_their_tensors() -> None:
    tensors = [TensorGroup(pattern="model.embed_tokens.weight", dtype="BF16", shape=(128256, 4096))]
    text = json.dumps(
        {"config": LLAMA_8B, "tensors": encode(tensors), "revision": "abc", "digest": "sha256:1"}
    )
    found = ModelFacts.parse(text)
    assert (found.weight_bytes, found.revision, found.digest) == (2 * 128256 * 4096, "abc", "sha256:1")


@pytest.mark.parametrize(
    ("config", "weight_bytes", "quantization", "gibibytes"),
    [
        pytest.param(LLAMA_8B, LLAMA_8B_BYTES, None, 14.96, id="what is stored is loaded"),
        pytest.param(LLAMA_8B, None, None, 14.96, id="a config alone says the same"),
        pytest.param(LLAMA_8B, LLAMA_8B_BYTES, "fp8", 8.46, id="FP8 at load halves all but the ends"),
        pytest.param(LLAMA_8B, 9_084_600_000, "fp8", 8.46, id="a checkpoint in FP8 is as large as it is"),
        pytest.param(
            LLAMA_8B | {"torch_dtype": "float32"},
            2 * LLAMA_8B_BYTES,
            None,
            14.96,
            id="a float32 checkpoint is loaded in 16 bits",
        ),
        pytest.param(
            DEEPSEEK_V3, 688_586_727_753, None, 625.9, id="layers that draft further tokens are not loaded"
        ),
    ],
)
def test_the_weights_that_are_loaded(
    config: dict[str, Any], weight_bytes: int | None, quantization: str | None, gibibytes: float
) -> None:
    found = ModelFacts.of(config, weight_bytes=weight_bytes, quantization=quantization)
    assert found.weight_bytes / (1 << 30) == pytest.approx(gibibytes, rel=0.012)


FIELDS = sorted(DEEPSEEK_V3 | GPT_OSS_120B | LLAMA_8B)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=12,
)


def is_read_or_refused(document: Any) -> bool:
    """Whether it is either; any other exception fails the test."""
    try:
        ModelFacts.parse(document)
    except Terminal as refused:
        return bool(str(refused))
    return True


@settings(max_examples=60, deadline=None)
@given(changes=st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=3))
def test_no_json_makes_it_crash(changes: dict[str, Any]) -> None:
    for config in (LLAMA_8B, DEEPSEEK_V3, GPT_OSS_120B, QWEN3_6_27B):
        assert is_read_or_refused({"config": {**config, **changes}, "weightBytes": 1 << 34})


@settings(max_examples=60, deadline=None)
@given(document=JSON)
def test_no_document_makes_it_crash(document: Any) -> None:
    assert is_read_or_refused(json.dumps(document))
    assert is_read_or_refused({"config": document})
    assert is_read_or_refused({"config": LLAMA_8B, "tensors": document})

"""The checkpoint writer: what it refuses, and that equal input gives equal bytes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from e2e.models.checkpoint import FloatArray, LlamaShape, write_checkpoint
from e2e.models.tiny_llama import SHAPE, random_weights

SMALL = replace(SHAPE, layers=1, hidden=16, intermediate=8, heads=2, kv_heads=2, head_dim=8, vocabulary=32)


def weights(shape: LlamaShape = SMALL) -> dict[str, FloatArray]:
    return random_weights(shape.tensors())


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
        write_checkpoint(folder, SMALL, weights())
    names = sorted(path.name for path in first.iterdir())
    assert names == ["config.json", "generation_config.json", "model.safetensors"]
    assert [(first / name).read_bytes() for name in names] == [(second / name).read_bytes() for name in names]


def test_another_user_may_read_the_weights(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, SMALL, weights())
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o644


def test_weights_are_bf16_under_the_names_of_a_llama(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, SMALL, weights())
    with safe_open(tmp_path / "model.safetensors", framework="numpy") as file:
        assert set(file.keys()) == set(SMALL.tensors())
        assert file.get_slice("model.embed_tokens.weight").get_dtype() == "BF16"
        assert file.get_slice("model.layers.0.mlp.down_proj.weight").get_shape() == [16, 8]


def test_config_states_the_shape(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, SMALL, weights())
    config = json.loads((tmp_path / "config.json").read_text())
    stated = {
        name: config[name] for name in ("architectures", "head_dim", "num_key_value_heads", "vocab_size")
    }
    assert stated == {
        "architectures": ["LlamaForCausalLM"],
        "head_dim": 8,
        "num_key_value_heads": 2,
        "vocab_size": 32,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            lambda all_weights: all_weights.pop("model.norm.weight"),
            "checkpoint lacks tensor model.norm.weight (1 missing)",
            id="a missing tensor is named",
        ),
        pytest.param(
            lambda all_weights: all_weights.update({"lm_head.weight": np.zeros((1,), np.float32)}),
            "checkpoint has tensor lm_head.weight, which a llama does not have",
            id="a tensor too many is named",
        ),
        pytest.param(
            lambda all_weights: all_weights.update({"model.norm.weight": np.zeros((4,), np.float32)}),
            "tensor model.norm.weight has shape (4,), config.json needs (16,)",
            id="a tensor of another shape is named with both shapes",
        ),
    ],
)
def test_wrong_tensors_are_refused(tmp_path: Path, change: object, message: str) -> None:
    found = weights()
    assert callable(change)
    change(found)
    with pytest.raises(ValueError) as refusal:  # noqa: PT011  the whole text is compared
        write_checkpoint(tmp_path, SMALL, found)
    assert str(refusal.value) == message
    assert list(tmp_path.iterdir()) == []

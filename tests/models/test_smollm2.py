"""The conversion from GGUF, on files of a few kilobytes."""

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, quantize
from safetensors.numpy import load_file

from e2e.models.checkpoint import FloatArray
from e2e.models.smollm2 import hugging_face_name, hugging_face_rows, read_shape, write_smollm2

LAYERS, HIDDEN, HEADS, KV_HEADS, INTERMEDIATE = 1, 64, 2, 1, 32
TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "a")
SHAPES = {
    "token_embd": (len(TOKENS), HIDDEN),
    "output_norm": (HIDDEN,),
    "blk.0.attn_norm": (HIDDEN,),
    "blk.0.attn_q": (HIDDEN, HIDDEN),
    "blk.0.attn_k": (HIDDEN // HEADS * KV_HEADS, HIDDEN),
    "blk.0.attn_v": (HIDDEN // HEADS * KV_HEADS, HIDDEN),
    "blk.0.attn_output": (HIDDEN, HIDDEN),
    "blk.0.ffn_norm": (HIDDEN,),
    "blk.0.ffn_gate": (INTERMEDIATE, HIDDEN),
    "blk.0.ffn_up": (INTERMEDIATE, HIDDEN),
    "blk.0.ffn_down": (HIDDEN, INTERMEDIATE),
}


def as_gguf_orders(weights: FloatArray, heads: int) -> FloatArray:
    """What GGUF does to the rows of query and key projections: the halves of each head take turns."""
    rows, columns = weights.shape
    halves = weights.reshape(heads, 2, rows // heads // 2, columns)
    return np.ascontiguousarray(np.stack([halves[:, 0], halves[:, 1]], axis=2).reshape(rows, columns))


def write_gguf(
    path: Path, weights: dict[str, FloatArray], *, architecture: str = "llama", pre: str = "smollm"
) -> None:
    writer = GGUFWriter(path, architecture)
    writer.add_block_count(LAYERS)
    writer.add_context_length(128)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INTERMEDIATE)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(100000.0)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3, 3, 1])
    writer.add_token_merges(["a a"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_unk_token_id(0)
    for name, values in weights.items():
        if values.ndim == 1:
            writer.add_tensor(f"{name}.weight", values)
        else:
            kind = GGMLQuantizationType.Q8_0
            writer.add_tensor(f"{name}.weight", quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def some_weights() -> dict[str, FloatArray]:
    generator = np.random.Generator(np.random.PCG64(1))
    return {name: generator.standard_normal(shape, np.float32) for name, shape in SHAPES.items()}


def test_a_file_becomes_a_model_folder_with_the_weights_it_was_made_from(tmp_path: Path) -> None:
    weights = some_weights()
    ordered = weights | {
        "blk.0.attn_q": as_gguf_orders(weights["blk.0.attn_q"], HEADS),
        "blk.0.attn_k": as_gguf_orders(weights["blk.0.attn_k"], KV_HEADS),
    }
    write_gguf(tmp_path / "x.gguf", ordered)
    folder = tmp_path / "model"
    folder.mkdir()

    write_smollm2(folder, tmp_path / "x.gguf")

    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    written = load_file(folder / "model.safetensors")
    for name, values in weights.items():
        found = written[hugging_face_name(f"{name}.weight")]
        assert found.dtype == ml_dtypes.bfloat16
        # Eight bits of the block's largest value, then eight bits of bf16.
        assert np.abs(found.astype(np.float32) - values).max() < 0.04, name


def test_the_shape_is_the_metadata_s_and_epsilon_has_no_noise_of_its_32_bits(tmp_path: Path) -> None:
    write_gguf(tmp_path / "x.gguf", some_weights())
    shape = read_shape(GGUFReader(tmp_path / "x.gguf"))
    assert (shape.layers, shape.hidden, shape.heads, shape.kv_heads, shape.head_dim) == (1, 64, 2, 1, 32)
    assert (shape.rope_theta, shape.rms_norm_epsilon, shape.max_positions) == (100000.0, 1e-5, 128)


@pytest.mark.parametrize("rows", [8, 64])
@pytest.mark.parametrize(("part", "heads"), [("attn_q", HEADS), ("attn_k", KV_HEADS)])
def test_rows_come_back_to_their_places(tmp_path: Path, part: str, heads: int, rows: int) -> None:
    write_gguf(tmp_path / "x.gguf", some_weights())
    shape = read_shape(GGUFReader(tmp_path / "x.gguf"))
    original = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)
    restored = hugging_face_rows(f"blk.0.{part}.weight", as_gguf_orders(original, heads), shape)
    assert np.array_equal(restored, original)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("token_embd.weight", "model.embed_tokens.weight", id="the embedding"),
        pytest.param("output_norm.weight", "model.norm.weight", id="the last norm"),
        pytest.param(
            "blk.12.ffn_norm.weight", "model.layers.12.post_attention_layernorm.weight", id="a layer's norm"
        ),
        pytest.param(
            "blk.0.attn_output.weight", "model.layers.0.self_attn.o_proj.weight", id="the output projection"
        ),
    ],
)
def test_tensors_get_the_names_of_a_llama(name: str, expected: str) -> None:
    assert hugging_face_name(name) == expected


@pytest.mark.parametrize("name", ["output.weight", "blk.0.attn_q.bias", "blk.0.ffn_gate_exps.weight"])
def test_a_tensor_that_a_llama_does_not_have_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"GGUF tensor {name} is not one of a llama's"):
        hugging_face_name(name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param(
            {"architecture": "qwen2"},
            "GGUF field general.architecture is 'qwen2', expected 'llama'",
            id="another architecture",
        ),
        pytest.param(
            {"pre": "llama-bpe"},
            "GGUF fields tokenizer.ggml.model and .pre are ('gpt2', 'llama-bpe'), "
            "expected ('gpt2', 'smollm')",
            id="another pre-tokenizer",
        ),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    write_gguf(tmp_path / "x.gguf", some_weights(), **changes)
    with pytest.raises(ValueError) as refusal:  # noqa: PT011  the whole text is compared
        write_smollm2(tmp_path, tmp_path / "x.gguf")
    assert str(refusal.value) == message

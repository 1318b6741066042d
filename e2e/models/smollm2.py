"""SmolLM2-135M-Instruct: from a 4-bit GGUF file to a bf16 Hugging Face model folder.

The 4-bit weights are widened, not restored: answers differ a little from the original model's.
"""

from pathlib import Path
from typing import Any

from gguf import GGUFReader, dequantize

from e2e.models.checkpoint import FloatArray, LlamaShape, write_checkpoint
from e2e.models.tokenizer import Vocabulary, write_tokenizer

NAME = "smollm2-135m-instruct"

_TOP_LEVEL = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
_LAYER = {
    "attn_k": "self_attn.k_proj",
    "attn_norm": "input_layernorm",
    "attn_output": "self_attn.o_proj",
    "attn_q": "self_attn.q_proj",
    "attn_v": "self_attn.v_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_up": "mlp.up_proj",
}


def write_smollm2(folder: Path, gguf_file: Path) -> None:
    """Write the model folder from the GGUF file.

    Raises ValueError when the file holds another architecture, tokenizer or tensor than this converter knows.
    """
    reader = GGUFReader(gguf_file)
    shape = read_shape(reader)
    weights = {
        hugging_face_name(tensor.name): hugging_face_rows(
            tensor.name, dequantize(tensor.data, tensor.tensor_type), shape
        )
        for tensor in reader.tensors
    }
    write_checkpoint(folder, shape, weights)
    write_tokenizer(folder, read_vocabulary(reader))


def read_shape(reader: GGUFReader) -> LlamaShape:
    """The shape of the llama that the file's metadata states."""
    if (architecture := _field(reader, "general.architecture")) != "llama":
        raise ValueError(f"GGUF field general.architecture is {architecture!r}, expected 'llama'")
    hidden, heads = _field(reader, "llama.embedding_length"), _field(reader, "llama.attention.head_count")
    return LlamaShape(
        layers=_field(reader, "llama.block_count"),
        hidden=hidden,
        intermediate=_field(reader, "llama.feed_forward_length"),
        heads=heads,
        kv_heads=_field(reader, "llama.attention.head_count_kv"),
        head_dim=hidden // heads,
        vocabulary=_field(reader, "llama.vocab_size"),
        max_positions=_field(reader, "llama.context_length"),
        rope_theta=_field(reader, "llama.rope.freq_base"),
        # GGUF holds it as a 32-bit float, whose decimal digits end in noise.
        rms_norm_epsilon=float(f"{_field(reader, 'llama.attention.layer_norm_rms_epsilon'):.6g}"),
        bos_token_id=_field(reader, "tokenizer.ggml.bos_token_id"),
        eos_token_id=_field(reader, "tokenizer.ggml.eos_token_id"),
        pad_token_id=_field(reader, "tokenizer.ggml.padding_token_id"),
    )


def read_vocabulary(reader: GGUFReader) -> Vocabulary:
    """The tokens and merges that the file's metadata holds."""
    kind = (_field(reader, "tokenizer.ggml.model"), _field(reader, "tokenizer.ggml.pre"))
    if kind != ("gpt2", "smollm"):
        raise ValueError(f"GGUF fields tokenizer.ggml.model and .pre are {kind}, expected ('gpt2', 'smollm')")
    return Vocabulary(
        tokens=tuple(_field(reader, "tokenizer.ggml.tokens")),
        types=tuple(_field(reader, "tokenizer.ggml.token_type")),
        merges=tuple(_field(reader, "tokenizer.ggml.merges")),
        max_length=_field(reader, "llama.context_length"),
        bos_token_id=_field(reader, "tokenizer.ggml.bos_token_id"),
        eos_token_id=_field(reader, "tokenizer.ggml.eos_token_id"),
        pad_token_id=_field(reader, "tokenizer.ggml.padding_token_id"),
        unknown_token_id=_field(reader, "tokenizer.ggml.unknown_token_id"),
    )


def hugging_face_name(name: str) -> str:
    """The checkpoint's name of a GGUF tensor.

    `blk.3.attn_q.weight` is `model.layers.3.self_attn.q_proj.weight`.
    """
    if name in _TOP_LEVEL:
        return _TOP_LEVEL[name]
    match name.split("."):
        case ["blk", index, part, "weight"] if part in _LAYER:
            return f"model.layers.{index}.{_LAYER[part]}.weight"
    raise ValueError(f"GGUF tensor {name} is not one of a llama's; this converter cannot place it")


def hugging_face_rows(name: str, weights: FloatArray, shape: LlamaShape) -> FloatArray:
    """Undo the row order that GGUF gives to query and key projections; leave other tensors as they are.

    GGUF interleaves the two halves of a head (its rotary embedding turns neighbouring rows); Hugging Face
    keeps the halves one after the other.
    """
    heads = {"attn_q": shape.heads, "attn_k": shape.kv_heads}.get(name.split(".")[-2])
    if heads is None:
        return weights
    half = weights.shape[0] // heads // 2
    return weights.reshape(heads, half, 2, -1).swapaxes(1, 2).reshape(weights.shape)


def _field(reader: GGUFReader, name: str) -> Any:
    field = reader.get_field(name)
    if field is None:
        raise ValueError(f"GGUF file lacks the field {name}")
    return field.contents()

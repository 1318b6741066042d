"""A random llama whose every dimension divides by 2, 4 and 8, so that any such tensor parallel size is legal.

SmolLM2 has 9 heads and runs on one GPU only. This one has no sense in its answers; what counts is its
geometry: 16 layers x 8 KV heads x 64 elements x 2 bytes, for keys and for values, are 32 KiB of KV cache per
token.
"""

from collections.abc import Mapping
from pathlib import Path
from shutil import copyfile

import numpy as np

from e2e.models.checkpoint import FloatArray, LlamaShape, write_checkpoint

NAME = "tiny-llama-8h"
SHAPE = LlamaShape(
    layers=16,
    hidden=512,
    intermediate=1024,
    heads=8,
    kv_heads=8,
    head_dim=64,
    vocabulary=49152,
    max_positions=32768,
    rope_theta=10000.0,
    rms_norm_epsilon=1e-5,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=2,
)
SEED = 8
DEVIATION = 0.02

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


def write_tiny_llama(folder: Path, tokenizer_folder: Path) -> None:
    """Write the model folder; the tokenizer files are copied from another model with the same vocabulary."""
    write_checkpoint(folder, SHAPE, random_weights(SHAPE.tensors()))
    for name in _TOKENIZER_FILES:
        copyfile(tokenizer_folder / name, folder / name)


def random_weights(tensors: Mapping[str, tuple[int, ...]], seed: int = SEED) -> dict[str, FloatArray]:
    """Normally distributed matrices and unit norms; the same seed gives the same numbers."""
    generator = np.random.Generator(np.random.PCG64(seed))
    return {
        name: np.ones(shape, np.float32)
        if len(shape) == 1
        else generator.standard_normal(shape, np.float32) * np.float32(DEVIATION)
        for name, shape in sorted(tensors.items())
    }

"""What a generation of GPUs cannot do, whatever its memory: kernels that the engine has for later ones only.

Sources: vLLM 0.32, `get_min_capability` of the quantization methods, `supports_compute_capability` of the
attention backends, `_FLOAT16_NOT_SUPPORTED_MODELS` in `config/model.py`; NVIDIA's list of capabilities.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from tertium.core.planner.facts import ModelFacts
from tertium.core.planner.overhead import Run, element_bytes

# Compute capability in tenths, by what a product's name holds as a word of its own.
_CAPABILITIES: Final = (
    (70, ("V100", "TITAN-V")),
    (75, ("T4", "RTX-6000-PASSIVE", "RTX-8000", "QUADRO-RTX", "RTX-2080", "RTX-2080-TI", "RTX-2070")),
    (80, ("A100", "A800", "A30")),
    (86, ("A10", "A10G", "A16", "A40", "A2", "A6000", "RTX-3090", "RTX-3080", "RTX-3070", "RTX-3060")),
    (89, ("L4", "L40", "L40S", "L20", "RTX-4090", "RTX-4080", "RTX-4070", "RTX-6000-ADA")),
    (90, ("H100", "H200", "H20", "H800", "GH200")),
)  # fmt: skip
_AMPERE: Final = 80
_HOPPER: Final = 90

_NO_FLOAT16: Final = (
    "Gemma2ForCausalLM", "Gemma3ForCausalLM", "Gemma3ForConditionalGeneration", "Glm4ForCausalLM"
)  # fmt: skip


def incapable(facts: ModelFacts, product: str, run: Run) -> str | None:
    """Return what this product cannot do of what the model needs, or None; an unknown product can do all."""
    have = capability(product)
    if have is None:
        return None
    lacking = next((what for what, least in _needs(facts, run) if have < least), None)
    return None if lacking is None else f"{product} cannot {lacking}"


def capability(product: str) -> int | None:
    """Return the compute capability of a product in tenths, up to Hopper's; None for later and unknown."""
    name = f"-{re.sub(r'[^A-Z0-9]+', '-', product.upper())}-"
    found = [tenths for tenths, marks in _CAPABILITIES if any(f"-{mark}-" in name for mark in marks)]
    return max(found, default=None)


def _needs(facts: ModelFacts, run: Run) -> Iterator[tuple[str, int]]:
    stored = facts.quantization
    if "mxfp4" in (stored.scheme, stored.experts):
        yield "run MXFP4 weights; that needs capability 8.0 or later", _AMPERE
    if facts.generates and element_bytes(facts, run) == 1:
        yield "keep a KV cache of 8 bits; that needs capability 8.0 or later", _AMPERE
    if facts.architecture in _NO_FLOAT16:
        yield "compute in bfloat16, and this model does not run in float16", _AMPERE
    if facts.is_sparse:
        yield "run sparse latent attention; that needs capability 9.0 or later", _HOPPER

"""How a checkpoint's linear layers are stored: bits per weight, and the blocks a split must respect.

Sources: vLLM 0.32, `model_executor/layers/quantization/` and the normalization of configs in
`transformers_utils/model_arch_config_convertor.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from tertium.core.planner.config import Config

_BITS_HUNDREDTHS: Final = {
    "": 1600, "fp8": 800, "int8": 800, "int4": 416, "nvfp4": 450, "mxfp4": 425, "mxfp8": 825,
    "bitsandbytes": 416, "gguf": 480,
}  # fmt: skip
_WORDS: Final = (
    ("mxfp4", "mxfp4"), ("mxfp8", "mxfp8"), ("nvfp4", "nvfp4"), ("modelopt_fp4", "nvfp4"), ("fp4", "nvfp4"),
    ("bitsandbytes", "bitsandbytes"), ("bnb", "bitsandbytes"), ("gguf", "gguf"), ("w8a8-int8", "int8"),
    ("int8", "int8"), ("w8a16", "int8"), ("w8a8", "int8"), ("int4", "int4"), ("w4a16", "int4"),
    ("awq", "int4"), ("gptq", "int4"), ("4bit", "int4"), ("fp8", "fp8"), ("float8", "fp8"),
)  # fmt: skip


_LAYER_NUMBER: Final = re.compile(r"\.\d+\.")
_MOST_LAYERS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """`scheme` is empty for weights of 16 bits and more."""

    method: str = ""
    scheme: str = ""
    block: tuple[int, int] | None = None
    """FP8 with a scale per block: rows and columns of a block."""
    group: int = 0
    """Weights that share a scale along a linear layer's input; 0: the whole input does."""
    attention: bool = True
    """Whether attention is quantized too."""
    experts: str = ""
    """Scheme of the experts where it is another."""
    fp8_cache: bool = False
    """Whether the checkpoint wants its KV cache in 8 bits, for which it has scales."""

    @property
    def bits_hundredths(self) -> int:
        """Bits of a weight with its share of the scales, in hundredths."""
        if self.scheme == "int4" and self.group:
            return 400 + 1600 // self.group
        return _BITS_HUNDREDTHS[self.scheme]

    @property
    def expert_bits_hundredths(self) -> int:
        """The same for an expert's weight."""
        return _BITS_HUNDREDTHS[self.experts] if self.experts else self.bits_hundredths


NONE: Final = Quantization()


def quantization_of(config: Config) -> Quantization:
    """Read `quantization_config` or `compression_config`, of the model or of its text part.

    What an exporter wrote into a file of its own has the same keys one level down, in `quantization`.
    """
    own = config.part("quantization_config", "compression_config")
    method = own.text("quant_method").lower().replace("_", "-")
    inner = own.part("quantization")
    algorithm = (own.text("quant_algo") or inner.text("quant_algo")).lower()
    if not method and not algorithm:
        return NONE
    weights = _first_group(own).part("weights")
    bits = weights.get("num_bits") or own.get("bits", "w_bit") or 0
    words = f"{own.text('format')} {weights.text('type')}{bits or ''} {algorithm} {method}".lower()
    scheme = _scheme(words, bits)
    block = own.numbers("weight_block_size") or weights.numbers("block_structure")
    group = _group(own) or _group(weights) or _group(inner)
    ignored = own.texts("modules_to_not_convert") or own.texts("ignore") or inner.texts("exclude_modules")
    return Quantization(
        method=method or "modelopt",
        scheme=scheme,
        block=(block[0], block[1]) if len(block) == 2 and all(block) else None,
        group=group if scheme in ("int4", "nvfp4") else 0,
        attention=not _skips_attention(ignored),
        experts=_scheme(f"mx{config.text('expert_dtype')}", 0) if "expert_dtype" in config else "",
        fp8_cache=_wants_fp8_cache(own, method),
    )


def quantization_named(words: str) -> Quantization:
    """Return what a name such as `fp8-block128` or `compressed-tensors-int4` says."""
    scheme = _scheme(words.lower(), 0)
    return Quantization(
        method=words.lower(),
        scheme=scheme,
        block=(128, 128) if "block" in words.lower() else None,
        group=128 if scheme == "int4" and any(w in words.lower() for w in ("awq", "gptq")) else 0,
    )


def _scheme(words: str, bits: int) -> str:
    if "compressed" in words or "quantized" in words or "quark" in words:
        if "mxfp4" in words or "nvfp4" in words:
            return "mxfp4" if "mxfp4" in words else "nvfp4"
        if bits == 4:
            return "nvfp4" if "float4" in words else "int4"
        if bits == 8:
            return "fp8" if "float" in words else "int8"
    if bits == 8 and any(word in words for word in ("awq", "gptq", "auto-round")):
        return "int8"
    if "auto-round" in words or "auto_round" in words:
        return "int4"
    return next((scheme for word, scheme in _WORDS if word in words), "")


def _wants_fp8_cache(own: Config, method: str) -> bool:
    """Whether the engine, told `auto`, keeps the cache in 8 bits.

    Sources: `get_kv_cache_quant_algo_string`; for compressed tensors, `layers/attention/attention.py`.
    """
    inner = own.part("quantization")
    scheme = inner.part("kv_cache_scheme") if "kv_cache_scheme" in inner else own.part("kv_cache_scheme")
    if method == "compressed-tensors":
        return "kv_cache_scheme" in own
    if method and not method.startswith("modelopt"):
        return False
    named = inner.text("kv_cache_scheme", "kv_cache_quant_algo") or own.text("kv_cache_quant_algo")
    in_floats = scheme.text("type") == "float" and not scheme.flag("dynamic", default=True)
    return (in_floats and scheme.get("num_bits") == 8) or named.lower() == "fp8"


def _skips_attention(ignored: tuple[str, ...]) -> bool:
    """Whether attention stays as it is in most layers: by a pattern, or layer by layer."""
    names = [name for name in ignored if "self_attn" in name]
    numbers = {match[0] for name in names if (match := _LAYER_NUMBER.search(name))}
    return len(numbers) >= _MOST_LAYERS or any(not _LAYER_NUMBER.search(name) for name in names)


def _first_group(own: Config) -> Config:
    groups = own.part("config_groups")
    return groups.part(*groups.names())


def _group(own: Config) -> int:
    """Group sizes are -1 where a whole channel shares its scale."""
    whole = own.number("group_size") == -1 or own.number("q_group_size") == -1
    return 0 if whole else own.size("group_size", "q_group_size", default=0)

"""Plans whose flags are put to the engine's own parser, and the options that it has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tertium.core.planner import GpuPool, ModelFacts, Request, Verdict, judge

OPTIONS_FILE: Final = Path(__file__).resolve().parents[2] / "tests" / "oracle" / "options.json"
OPTIONS: Final[list[str]] = json.loads(OPTIONS_FILE.read_text(encoding="utf-8"))

_DECODER: Final = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_attention_heads": 16,
    "num_hidden_layers": 4,
    "num_key_value_heads": 8,
    "vocab_size": 32_000,
    "torch_dtype": "bfloat16",
}
_ENCODER: Final = {**_DECODER, "architectures": ["BertModel"], "model_type": "bert"}


def _judged(config: Mapping[str, Any], tensor: int = 1, pipeline: int = 1, **wanted: Any) -> Verdict:
    pool = GpuPool(product="NVIDIA-H100-80GB-HBM3", memory_mebibytes=81_090, gpus_per_node=8)
    return judge(ModelFacts.of(config), pool, Request(context_tokens=2048, **wanted), tensor, pipeline)


FLAGS: Final[Mapping[str, tuple[str, ...]]] = {
    "the defaults of the engine": _judged(_DECODER).flags,
    "every default replaced": _judged(
        _DECODER,
        2,
        2,
        max_num_seqs=32,
        max_num_batched_tokens=1024,
        utilization_hundredths=85,
        kv_cache="fp8",
    ).flags,
    "no graphs": _judged(_DECODER, enforce_eager=True).flags,
    "few graphs": _judged(_DECODER, max_num_seqs=8, largest_graph=8).flags,
    "an encoder": _judged(_ENCODER).flags,
}
"""Flags of plans by what they are for."""

"""How long a plan takes, and that it needs nothing of the engine: the figures a reconcile must afford."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tertium.core.planner import GpuPool, ModelFacts, Request, search
from tertium.loader.folder import inspect_folder

ENGINE_PACKAGES: Final = ("torch", "transformers", "vllm")
_RUNS: Final = 15
_POOL: Final = GpuPool(product="NVIDIA-H100-80GB-HBM3", memory_mebibytes=81090, gpus_per_node=8)

_DENSE: Final[dict[str, Any]] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "max_position_embeddings": 131_072,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "num_hidden_layers": 111,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vocab_size": 128_256,
}
_EXPERTS: Final[dict[str, Any]] = {
    **_DENSE,
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "hidden_size": 4096,
    "head_dim": 128,
    "moe_intermediate_size": 1536,
    "num_experts": 208,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 96,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Medians over the runs, in milliseconds of the processor: a busy machine does not count."""

    model: str
    tensors: int
    plan_millis: float
    """From the headers on this machine's disk to the plan: what `tertium plan FOLDER` does."""
    stored_millis: float
    """From the facts of an inspection to the plan: what the operator does."""


def measure() -> list[Speed]:
    """Time the two models."""
    return [_measure("dense", _DENSE, _dense()), _measure("experts", _EXPERTS, _experts())]


def imported_packages() -> list[str]:
    """The engine's packages that a plan imports, in a process of its own; none is expected."""
    program = "import sys, tertium.cli.plan; print(*(sys.modules.keys() & set(sys.argv[1:])))"
    done = subprocess.run(
        [sys.executable, "-c", program, *ENGINE_PACKAGES], check=True, capture_output=True, text=True
    )
    return done.stdout.split()


def _measure(model: str, config: Mapping[str, Any], tensors: Mapping[str, tuple[int, ...]]) -> Speed:
    with tempfile.TemporaryDirectory(prefix="tertium-speed-") as folder:
        _write(Path(folder), config, tensors)
        document = inspect_folder(Path(folder).parent, Path(folder).name, model)
        stored = json.dumps(document)
        return Speed(
            model=model,
            tensors=len(tensors),
            plan_millis=_median(lambda: _plan(inspect_folder(Path(folder).parent, Path(folder).name, model))),
            stored_millis=_median(lambda: _plan(stored)),
        )


def _plan(document: Mapping[str, Any] | str) -> None:
    search(ModelFacts.parse(document), [_POOL], Request(context_tokens=32_768, max_num_seqs=64))


def _median(action: Any) -> float:
    times = []
    for _ in range(_RUNS):
        started = time.process_time()
        action()
        times.append((time.process_time() - started) * 1000)
    return statistics.median(times)


def _write(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, tuple[int, ...]]) -> None:
    """Write a model of which only the headers are there: the data is a hole in the file."""
    (folder / "config.json").write_text(json.dumps(config))
    header, offset = {}, 0
    for name, shape in tensors.items():
        end = offset + 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + offset)


def _dense() -> dict[str, tuple[int, ...]]:
    ends = {"model.embed_tokens.weight": (128_256, 8192), "lm_head.weight": (128_256, 8192)}
    return ends | {
        f"model.layers.{layer}.{name}.weight": shape
        for layer in range(_DENSE["num_hidden_layers"])
        for name, shape in _attention(8192, 8192, 1024).items()
        | {
            "mlp.gate_proj": (28672, 8192),
            "mlp.up_proj": (28672, 8192),
            "mlp.down_proj": (8192, 28672),
        }.items()
    }


def _experts() -> dict[str, tuple[int, ...]]:
    ends = {"model.embed_tokens.weight": (128_256, 4096), "lm_head.weight": (128_256, 4096)}
    layers = range(_EXPERTS["num_hidden_layers"])
    attention = {
        f"model.layers.{layer}.{name}.weight": shape
        for layer in layers
        for name, shape in _attention(4096, 8192, 1024).items()
    }
    experts = {
        f"model.layers.{layer}.mlp.experts.{expert}.{name}.weight": shape
        for layer in layers
        for expert in range(_EXPERTS["num_experts"])
        for name, shape in (
            ("gate_proj", (1536, 4096)),
            ("up_proj", (1536, 4096)),
            ("down_proj", (4096, 1536)),
        )
    }
    return ends | attention | experts


def _attention(hidden: int, queries: int, keys: int) -> dict[str, tuple[int, ...]]:
    return {
        "self_attn.q_proj": (queries, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, queries),
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
    }

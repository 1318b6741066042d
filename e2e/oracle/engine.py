"""Asks vLLM about models: which splits it accepts, what each rank then holds, what a sequence needs.

Runs with the engine's packages. Reads one question a line (`{"id", "config", "tensor": [1, 2, ...],
"contexts": [8192, ...]}`), writes one answer a line. Must not know what the planner thinks.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "TORCHDYNAMO_DISABLE": "1",
    "VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
}
logging.disable(logging.CRITICAL)

import torch  # noqa: E402
from vllm.config import VllmConfig, set_current_vllm_config  # noqa: E402
from vllm.engine.arg_utils import EngineArgs  # noqa: E402
from vllm.model_executor.layers.attention_layer_base import AttentionLayerBase  # noqa: E402
from vllm.model_executor.model_loader.utils import initialize_model  # noqa: E402
from vllm.platforms import current_platform  # noqa: E402
from vllm.utils.torch_utils import set_default_torch_dtype  # noqa: E402
from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend  # noqa: E402
from vllm.v1.core import kv_cache_utils  # noqa: E402
from vllm.v1.kv_cache_interface import KVCacheSpec  # noqa: E402

from e2e.oracle import standins  # noqa: E402

Answer = dict[str, Any]
BATCHED_TOKENS = 8192
LONGEST_SECONDS = 60
BLOCK_TOKENS = 16
# The usual order in memory, and the one for caches whose pages cannot be made equal.
LAYOUTS = "LBNHC", "BLNHC"


def main() -> None:
    """Answer every line of the standard input."""
    # Whatever a constructor prints must not end up between the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    # On a GPU a block holds 16 tokens; the CPU's kernels want 32.
    CPUAttentionBackend.get_supported_kernel_block_sizes = classmethod(lambda *_: [BLOCK_TOKENS])
    # A machine without these instructions has no kernels for FP8, and would refuse what every GPU takes.
    torch.cpu._is_amx_tile_supported = lambda: True
    standins.install()
    signal.signal(signal.SIGALRM, give_up)
    for line in sys.stdin:
        question = json.loads(line)
        answers.write(json.dumps({"id": question["id"], **answer(question)}) + "\n")
        answers.flush()


def answer(question: Answer) -> Answer:
    """Return `{"refused": why}` for the model as a whole, or `{"shapes": {size: ...}}`."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            engine = configure(question["config"], Path(folder))
        except Exception as error:
            return {"refused": words(error)}
        contexts = question.get("contexts", [])
        return {"shapes": {str(size): shape(engine, size, contexts) for size in question["tensor"]}}


def configure(config: Answer, folder: Path) -> VllmConfig:
    """Let vLLM read the config as it would for `vllm serve`, on a GPU as far as the caches go."""
    config = {key: value for key, value in config.items() if key != "auto_map"}
    standins.register_plain_config(config)
    standins.become(tensor=1)
    (folder / "config.json").write_text(json.dumps(config))
    engine = EngineArgs(
        model=str(folder),
        skip_tokenizer_init=True,
        enforce_eager=True,
        load_format="dummy",
        allow_deprecated_quantization=True,
        block_size=BLOCK_TOKENS,
        max_num_batched_tokens=BATCHED_TOKENS,
    ).create_engine_config()
    engine.scheduler_config.async_scheduling = True
    cache = engine.cache_config
    if engine.model_config.is_hybrid:
        # The default where prefixes are cached, which they are on GPUs.
        cache.enable_prefix_caching, cache.mamba_cache_mode = True, "align"
    return engine


def shape(engine: VllmConfig, tensor: int, contexts: list[int]) -> Answer:
    """Build the first of `tensor` ranks and measure it."""
    parallel, compilation = engine.parallel_config, engine.compilation_config
    parallel.tensor_parallel_size = parallel.world_size = tensor
    standins.become(tensor=tensor)
    compilation.static_forward_context.clear()
    compilation.static_all_moe_layers.clear()
    try:
        engine.model_config.verify_with_parallel_config(parallel)
        # Some of Transformers' own classes never end where there is no data to trace.
        signal.alarm(LONGEST_SECONDS)
        model = build(engine)
    except Exception as error:
        return {"refused": words(error)}
    finally:
        signal.alarm(0)
    found = {
        "parameterBytes": sum(held.numel() * held.element_size() for held in model.parameters()),
        "bufferBytes": sum(held.numel() * held.element_size() for held in model.buffers()),
    }
    try:
        found |= caches(engine, contexts)
    except Exception as error:
        found |= {"cachesRefused": words(error)}
    del model
    gc.collect()
    return found


def build(engine: VllmConfig) -> torch.nn.Module:
    """Build this rank's part of the model, without data."""
    dtype = engine.model_config.dtype
    with set_current_vllm_config(engine), set_default_torch_dtype(dtype), torch.device("meta"):
        return initialize_model(vllm_config=engine)


def caches(engine: VllmConfig, contexts: list[int]) -> Answer:
    """Return the caches by kind, and the bytes that one sequence of each length needs on this rank."""
    cache = engine.cache_config
    chosen = cache.block_size
    cache.mamba_page_size_padded, cache.mamba_block_size = None, chosen
    with set_current_vllm_config(engine):
        current_platform.update_block_size_for_backend(engine)
    specs = layer_specs(engine)
    kinds: dict[tuple[str, int, int], int] = {}
    for spec in specs.values():
        kind = (type(spec).__name__, spec.page_size_bytes, spec.block_size)
        kinds[kind] = kinds.get(kind, 0) + 1
    needed, longest = {}, engine.model_config.max_model_len
    for tokens in contexts:
        engine.model_config.max_model_len = tokens
        needed[str(tokens)] = sequence_bytes(engine)
    engine.model_config.max_model_len, cache.block_size = longest, chosen
    # A model that makes a config of its own from this one has it validated again.
    cache.mamba_block_size = None
    pages = [[name, count, page, tokens] for (name, page, tokens), count in kinds.items()]
    return {"caches": pages, "sequenceBytes": needed}


def sequence_bytes(engine: VllmConfig) -> int:
    """The bytes that vLLM's start-up check wants for one sequence of the longest length."""
    for layout in LAYOUTS:
        engine.cache_config.kv_cache_layout = layout
        try:
            groups = kv_cache_utils.get_kv_cache_groups(engine, layer_specs(engine))
            break
        except NotImplementedError:
            if layout == LAYOUTS[-1]:
                raise
    return int(kv_cache_utils._max_memory_usage_bytes_from_groups(engine, groups))


def layer_specs(engine: VllmConfig) -> dict[str, KVCacheSpec]:
    """The cache of every layer that keeps one."""
    found = {
        name: layer.get_kv_cache_spec(engine)
        for name, layer in engine.compilation_config.static_forward_context.items()
        if isinstance(layer, AttentionLayerBase)
    }
    return {name: spec for name, spec in found.items() if spec is not None}


def give_up(*_: object) -> None:
    """End a build that takes too long."""
    raise TimeoutError(f"not built within {LONGEST_SECONDS} seconds")


def words(error: Exception) -> str:
    """The error in one line: of a validation error, what was found."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        # An assertion without words is its own text.
        lines = [str(traceback.extract_tb(error.__traceback__)[-1].line)]
    said = next((line for line in lines if line.startswith("Value error")), lines[0])
    text = said.removeprefix("Value error, ").split(" [type=")[0].split(" Supported architectures: ")[0]
    return f"{type(error).__name__}: {text}"[:240]


if __name__ == "__main__":
    main()

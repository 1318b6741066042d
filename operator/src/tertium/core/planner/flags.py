"""The engine flags that a plan rests on: all of them, so that no default of the engine can falsify it."""

from __future__ import annotations

from tertium.core.planner.facts import ModelFacts
from tertium.core.planner.overhead import Run, element_bytes
from tertium.core.planner.releases import GRAPH_BATCH_MOST


def flags_of(facts: ModelFacts, run: Run) -> tuple[str, ...]:
    """Return the arguments for `vllm serve`."""
    flags = [f"--tensor-parallel-size={run.tensor}"]
    if run.pipeline > 1:
        flags.append(f"--pipeline-parallel-size={run.pipeline}")
    flags += [
        f"--max-model-len={run.context_tokens}",
        f"--max-num-seqs={run.sequences}",
        f"--max-num-batched-tokens={run.batched_tokens}",
        f"--gpu-memory-utilization={run.utilization_hundredths / 100:.2f}",
    ]
    if facts.generates:
        flags.append(f"--kv-cache-dtype={_cache_format(facts, run)}")
    if run.enforce_eager:
        flags.append("--enforce-eager")
    elif run.release.has_graph_flag:
        largest = min(2 * run.sequences, GRAPH_BATCH_MOST, run.largest_graph or GRAPH_BATCH_MOST)
        flags.append(f"--max-cudagraph-capture-size={largest}")
    return tuple(flags)


def _cache_format(facts: ModelFacts, run: Run) -> str:
    """The name of the cache's precision. `auto` would be 8 bits where the checkpoint wants them."""
    if element_bytes(facts, run) == 1:
        return "fp8"
    wants_8_bits = facts.quantization.fp8_cache and run.release.reads_cache_format
    return "bfloat16" if wants_8_bits else "auto"

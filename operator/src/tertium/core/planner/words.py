"""The planner's sentences: the arithmetic of every size that was tried, and what would fit instead.

The texts reach `status.plan.why` and the message of the condition `Planned`; they hold no clock and no
counter, so that an unchanged world gives an unchanged status.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tertium.api.v1alpha1 import LLMDeploymentSpec
from tertium.core.planner import constants
from tertium.core.planner.facts import ModelFacts
from tertium.core.planner.gpus import MEMORY_LABEL, PRODUCT_LABEL, RESOURCE, GpuPool
from tertium.core.planner.memory import MEBIBYTE, Memory, budget_mebibytes, kv_bytes_per_token


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One size on one product: the rule it breaks, or the memory it needs."""

    tensor: int
    broken_rule: str | None
    memory: Memory | None

    @property
    def fits(self) -> bool:
        """Whether this size is legal and holds the replica."""
        return self.memory is not None and self.memory.headroom >= 0


def chosen(
    pool: GpuPool, trials: Sequence[Trial], passed_over: Sequence[tuple[GpuPool, Sequence[Trial]]]
) -> str:
    """Say why the last of `trials` is the plan, and why more preferred products are not."""
    before = [f"{other.product}: does not fit on {gpus(other.gpus_per_node)}" for other, _ in passed_over]
    return ". ".join([*before, attempt(pool, trials)])


def attempt(pool: GpuPool, trials: Sequence[Trial]) -> str:
    """Say what became of every size that was tried on one product."""
    usable = f"{budget_mebibytes(pool):,} of {pool.memory_mebibytes:,} MiB usable per GPU"
    return f"{pool.product} ({usable}): " + "; ".join(_outcome(trial) for trial in trials)


def counter_offer(facts: ModelFacts, attempts: Sequence[tuple[GpuPool, Sequence[Trial]]]) -> str:
    """Name the longest context that one of the tried sizes holds, or say that none does."""
    offers = [
        (_longest(facts, trial), -trial.tensor, pool.product) for pool, trials in attempts for trial in trials
    ]
    tokens, negative, product = max(offers)
    if tokens < constants.KV_BLOCK_TOKENS:
        return "Not even the shortest context fits; use GPUs with more memory or nodes with more of them"
    return f"spec.capacity.contextTokens: up to {tokens} fits on {gpus(-negative)} of {product}"


def no_accelerator(pools: Sequence[GpuPool], spec: LLMDeploymentSpec) -> str:
    """Say which GPUs the cluster has instead of the ones asked for."""
    if not pools:
        return (
            f"no schedulable node has {RESOURCE} together with the labels {PRODUCT_LABEL} and "
            f"{MEMORY_LABEL}, which NVIDIA's GPU feature discovery sets"
        )
    wanted = either(accelerator.product for accelerator in spec.accelerators)
    return f"spec.accelerators: no node has {wanted}; the cluster has {', '.join(p.product for p in pools)}"


def gpus(count: int) -> str:
    """Spell a number of GPUs."""
    return f"{count} GPU" if count == 1 else f"{count} GPUs"


def either(options: Iterable[object]) -> str:
    """Join options for a sentence: `1, 2 or 4`."""
    *most, last = [str(option) for option in options]
    return f"{', '.join(most)} or {last}" if most else last


def _outcome(trial: Trial) -> str:
    if trial.memory is None:
        return f"{gpus(trial.tensor)}: {trial.broken_rule}"
    part = trial.memory
    parts = f"weights {part.weights:,} + overhead {part.overhead:,} + KV cache {part.kv_cache:,}"
    if trial.fits:
        return f"{gpus(trial.tensor)}: fits, {parts} = {part.needed:,} MiB, headroom {part.headroom:,}"
    return f"{gpus(trial.tensor)}: needs {parts} = {part.needed:,} MiB"


def _longest(facts: ModelFacts, trial: Trial) -> int:
    """Longest context in tokens that this size holds, in whole blocks; 0 when there is none."""
    if trial.memory is None:
        return 0
    room = (trial.memory.headroom + trial.memory.kv_cache) * MEBIBYTE
    block_bytes = constants.KV_BLOCK_TOKENS * kv_bytes_per_token(facts, trial.tensor)
    tokens = (room // block_bytes - 1) * constants.KV_BLOCK_TOKENS
    return max(0, min(tokens, facts.max_positions or tokens))

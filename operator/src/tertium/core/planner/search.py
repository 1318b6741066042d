"""The search: for every GPU product that may be used, the smallest legal tensor parallel size that fits.

Accelerators named by the spec are tried in its order and the first that fits is taken. Otherwise all products
of the cluster compete: fewest GPUs, then least memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tertium.api.conditions import Reason
from tertium.api.v1alpha1 import LLMDeploymentSpec, MemoryPlan, PlanStatus
from tertium.core.planner import constants, words
from tertium.core.planner.facts import ModelFacts
from tertium.core.planner.gpus import GpuPool
from tertium.core.planner.legal import violation
from tertium.core.planner.memory import Memory, batched_tokens, memory
from tertium.core.planner.words import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """A plan that starts: the world size, the flags it rests on, and the arithmetic."""

    accelerator: str
    tensor_parallel_size: int
    memory: Memory
    flags: tuple[str, ...]
    why: str

    @property
    def gpus_per_replica(self) -> int:
        """The world size."""
        return self.tensor_parallel_size

    def status(self) -> PlanStatus:
        """Return the plan as the API shows it."""
        return PlanStatus(
            accelerator=self.accelerator,
            gpus_per_replica=self.gpus_per_replica,
            tensor_parallel_size=self.tensor_parallel_size,
            memory_per_gpu=MemoryPlan(
                total_mebibytes=self.memory.total,
                weights_mebibytes=self.memory.weights,
                overhead_mebibytes=self.memory.overhead,
                kv_cache_mebibytes=self.memory.kv_cache,
                headroom_mebibytes=self.memory.headroom,
            ),
            flags=self.flags,
            why=self.why,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """There is no plan: why, with the arithmetic, and what would work instead."""

    reason: Reason
    message: str


def size(facts: ModelFacts, pools: Sequence[GpuPool], spec: LLMDeploymentSpec) -> Sizing | Refused:
    """Return the smallest world size that holds one replica of `spec`, or why there is none.

    A replica must hold one sequence of `capacity.contextTokens`: the engine refuses to start with less. More
    sequences share what is left; `capacity.concurrentSequences` bounds how many the engine runs at once.
    """
    impossible = _impossible(facts, spec)
    if impossible is not None:
        return Refused(reason=Reason.INVALID, message=impossible)
    allowed = _allowed(pools, spec)
    if not allowed:
        return Refused(reason=Reason.NO_ACCELERATOR, message=words.no_accelerator(pools, spec))
    attempts = [(pool, _trials(facts, pool, spec)) for pool in allowed]
    fitting = [(pool, trials) for pool, trials in attempts if trials and trials[-1].fits]
    if not fitting:
        return Refused(reason=Reason.DOES_NOT_FIT, message=_refusal(facts, attempts, spec))
    pool, trials = fitting[0] if spec.accelerators else min(fitting, key=_cost)
    passed_over = attempts[: attempts.index((pool, trials))] if spec.accelerators else []
    return _sizing(pool, trials, spec, words.chosen(pool, trials, passed_over))


def _impossible(facts: ModelFacts, spec: LLMDeploymentSpec) -> str | None:
    wanted, limit = spec.capacity.context_tokens, facts.max_positions
    if limit is not None and wanted > limit:
        return (
            f"spec.capacity.contextTokens: {wanted:,} is more than the {limit:,} tokens this model takes; "
            f"set it to {limit} or less"
        )
    pinned = spec.parallelism.tensor
    broken = violation(facts, pinned) if pinned else None
    if broken is None:
        return None
    legal = [tensor for tensor in range(1, 17) if violation(facts, tensor) is None]
    return (
        f"spec.parallelism.tensor: {pinned} is impossible for this model: {broken}; "
        f"up to 16 GPUs it can be split over {words.either(legal)}"
    )


def _allowed(pools: Sequence[GpuPool], spec: LLMDeploymentSpec) -> list[GpuPool]:
    if not spec.accelerators:
        return list(pools)
    by_product = {pool.product: pool for pool in pools}
    wanted = dict.fromkeys(accelerator.product for accelerator in spec.accelerators)
    return [by_product[product] for product in wanted if product in by_product]


def _trials(facts: ModelFacts, pool: GpuPool, spec: LLMDeploymentSpec) -> list[Trial]:
    """Try sizes up to what a node has, smallest first, up to the first that fits."""
    pinned = spec.parallelism.tensor
    trials: list[Trial] = []
    for tensor in range(1, pool.gpus_per_node + 1) if pinned is None else (pinned,):
        trials.append(_trial(facts, pool, tensor, spec))
        if trials[-1].fits:
            break
    return trials


def _trial(facts: ModelFacts, pool: GpuPool, tensor: int, spec: LLMDeploymentSpec) -> Trial:
    broken = violation(facts, tensor)
    if tensor > pool.gpus_per_node:
        broken = f"no node has more than {pool.gpus_per_node}"
    needs = memory(facts, pool, tensor, spec.capacity) if broken is None else None
    return Trial(tensor=tensor, broken_rule=broken, memory=needs)


def _refusal(
    facts: ModelFacts, attempts: Sequence[tuple[GpuPool, Sequence[Trial]]], spec: LLMDeploymentSpec
) -> str:
    sentences = [words.attempt(pool, trials) for pool, trials in attempts]
    if spec.parallelism.tensor is not None:
        unpinned = spec.model_copy(update={"parallelism": type(spec.parallelism)()})
        free = size(facts, [pool for pool, _ in attempts], unpinned)
        if isinstance(free, Sizing):
            works = f"spec.parallelism.tensor: {free.tensor_parallel_size} fits on {free.accelerator}"
            return ". ".join([*sentences, works])
    return ". ".join([*sentences, words.counter_offer(facts, attempts)])


def _cost(attempt: tuple[GpuPool, Sequence[Trial]]) -> tuple[int, int, str]:
    pool, trials = attempt
    return (trials[-1].tensor, pool.memory_mebibytes, pool.product)


def _sizing(pool: GpuPool, trials: Sequence[Trial], spec: LLMDeploymentSpec, why: str) -> Sizing:
    found = trials[-1]
    assert found.memory is not None
    capacity = spec.capacity
    # The engine's own defaults depend on the GPU and its version; the plan holds only for what it assumed.
    flags = (
        f"--tensor-parallel-size={found.tensor}",
        f"--max-model-len={capacity.context_tokens}",
        f"--max-num-seqs={capacity.concurrent_sequences}",
        f"--max-num-batched-tokens={batched_tokens(pool, capacity)}",
        f"--gpu-memory-utilization=0.{constants.UTILIZATION_HUNDREDTHS}",
    )
    return Sizing(
        accelerator=pool.product, tensor_parallel_size=found.tensor, memory=found.memory, flags=flags, why=why
    )

"""Whether one shape starts: the rules first, then the memory of every stage against its budget.

The engine's own checks, in its order: what is outside the budget, whether one sequence fits, and for
recurrent models whether every running sequence finds a block. Source: vLLM 0.32, `v1/worker/gpu_worker.py`,
`v1/core/kv_cache_utils.py`, `config/compilation.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tertium.core.planner import releases as r
from tertium.core.planner import words
from tertium.core.planner.facts import ModelFacts
from tertium.core.planner.flags import flags_of
from tertium.core.planner.gpus import GpuPool
from tertium.core.planner.hardware import incapable
from tertium.core.planner.kv import Demand, Pool, pool_of
from tertium.core.planner.legal import unsupported, violation
from tertium.core.planner.measured import Measured
from tertium.core.planner.overhead import (
    MEBIBYTE,
    Run,
    activation_mebibytes,
    element_bytes,
    graph_mebibytes,
    is_hopper,
    margin_mebibytes,
    mebibytes,
    non_torch_mebibytes,
    slack_shortage_mebibytes,
)
from tertium.core.planner.request import Request
from tertium.core.planner.verdict import Label, Memory, Verdict
from tertium.core.planner.weights import stage_bytes, stage_ends

MOST_GPUS = 64
"""No replica is larger: what is asked for beyond is a mistake."""


@dataclass(frozen=True, slots=True)
class _Stage:
    memory: Memory
    cache: Pool


def judge(
    facts: ModelFacts,
    pool: GpuPool,
    request: Request,
    tensor: int,
    pipeline: int = 1,
    *,
    measured: Measured | None = None,
) -> Verdict:
    """Judge exactly this shape with exactly these flags; what would fit instead is in the words.

    Neither the size of a node nor anything the search might give up is looked at.
    """
    verdict = assess(facts, pool, request, tensor, pipeline, measured=measured)
    if verdict.label is not Label.DOES_NOT_FIT:
        return verdict
    larger = _larger_that_fits(facts, pool, request, verdict)
    return words.with_remedies(
        verdict,
        more_gpus=None if larger is None else larger - verdict.gpus,
        sequences=most_sequences(facts, pool, request, verdict),
        context_tokens=request.context_tokens,
    )


def most_sequences(facts: ModelFacts, pool: GpuPool, request: Request, verdict: Verdict) -> int:
    """Return the most sequences, fewer than in `verdict`, with which its shape fits; 0 where none do."""
    low, high = 0, verdict.max_num_seqs - 1
    while low < high:
        middle = (low + high + 1) // 2
        fewer = replace(request, max_num_seqs=middle)
        fits = assess(facts, pool, fewer, verdict.tensor, verdict.pipeline).fits
        low, high = (middle, high) if fits else (low, middle - 1)
    return low


def assess(
    facts: ModelFacts,
    pool: GpuPool,
    request: Request,
    tensor: int,
    pipeline: int = 1,
    *,
    measured: Measured | None = None,
) -> Verdict:
    """Judge a shape without looking for what would fit instead.

    Where the version is unknown, the worst of the releases that take the shape.
    """
    verdicts = [
        _assess(facts, pool, request, run_of(pool, request, tensor, pipeline, release), measured)
        for release in r.releases_of(request.engine_version)
    ]
    taken = [verdict for verdict in verdicts if verdict.valid]
    return min(taken, key=_certainty) if taken else verdicts[-1]


def _certainty(verdict: Verdict) -> tuple[bool, int]:
    return verdict.fits, verdict.memory.headroom if verdict.memory else 0


def _assess(
    facts: ModelFacts, pool: GpuPool, request: Request, run: Run, measured: Measured | None
) -> Verdict:
    broken = (
        unsupported(facts, r.version_number(request.engine_version))
        or _impossible(facts, request, run)
        or incapable(facts, pool.product, run)
        or violation(facts, run.release, run.tensor, run.pipeline)
    )
    if broken is None:
        return _weigh(facts, pool, run, _stages(facts, pool, run, measured), measured)
    return Verdict(
        tensor=run.tensor,
        pipeline=run.pipeline,
        label=Label.INVALID,
        reason=broken,
        max_num_seqs=run.sequences,
    )


def sequences_of(pool: GpuPool, request: Request) -> int:
    """Return how many sequences the engine would run at most."""
    release = r.releases_of(request.engine_version)[-1]
    return run_of(pool, request, 1, 1, release).sequences


def run_of(pool: GpuPool, request: Request, tensor: int, pipeline: int, release: r.Release) -> Run:
    """Resolve the engine's defaults for this GPU. Source: `get_batch_defaults` in `engine/arg_utils.py`."""
    memory = pool.memory_mebibytes
    large = memory >= r.LARGE_GPU and "A100" not in pool.product.upper()
    sequences = request.max_num_seqs or (release.sequences_large if large else r.SEQUENCES)
    batch = r.BATCHED_TOKENS_LARGEST if memory >= r.LARGEST_GPU else r.BATCHED_TOKENS_LARGE
    return Run(
        release=release,
        tensor=tensor,
        pipeline=pipeline,
        context_tokens=request.context_tokens,
        sequences=sequences,
        batched_tokens=request.max_num_batched_tokens or max(batch if large else r.BATCHED_TOKENS, sequences),
        utilization_hundredths=request.utilization_hundredths
        or r.releases_of(request.engine_version)[-1].utilization_hundredths,
        kv_cache=request.kv_cache,
        enforce_eager=request.enforce_eager,
        largest_graph=request.largest_graph,
    )


def _impossible(facts: ModelFacts, request: Request, run: Run) -> str | None:
    limit = facts.max_positions
    if limit is not None and request.context_tokens > limit:
        return f"a context of {request.context_tokens:,} is more than the {limit:,} tokens this model takes"
    if run.batched_tokens < min(run.sequences, request.max_num_seqs or 0):
        return f"{run.batched_tokens:,} batched tokens are fewer than {run.sequences:,} sequences"
    return None


def _stages(facts: ModelFacts, pool: GpuPool, run: Run, measured: Measured | None) -> list[_Stage]:
    seen = measured or Measured()
    budget = -(-pool.memory_mebibytes * run.utilization_hundredths // 100)
    hopper = is_hopper(pool.product)
    held = stage_bytes(facts.parts, facts.layout, run.tensor, run.pipeline, hopper=hopper)
    resident = facts.resident_bytes + facts.absorbed_bytes // (run.tensor * run.pipeline)
    demand = Demand(
        tensor=run.tensor,
        element_bytes=element_bytes(facts, run),
        in_flight_tokens=(run.release.in_flight + run.pipeline - 1) * run.batched_tokens,
        states=run.release.states_per_sequence,
    )
    graphs = graph_mebibytes(facts, run) if run.release.graphs_in_budget else 0
    non_torch = non_torch_mebibytes(pool, run)
    start, stages = 0, []
    for end, size_bytes in zip(stage_ends(facts.shape.layers, run.pipeline), held, strict=True):
        weights = _either(seen.weights, mebibytes(size_bytes + resident))
        cache = pool_of(facts.caches[start:end], demand)
        activation = activation_mebibytes(facts, run, samples=end == facts.shape.layers)
        memory = Memory(
            total=pool.memory_mebibytes,
            budget=budget,
            weights=weights,
            activation=_either(seen.activation, activation),
            non_torch=_either(seen.non_torch, non_torch),
            cuda_graph=_either(seen.cuda_graph if graphs else None, graphs),
            kv_cache=mebibytes(cache.need(run.context_tokens)),
            margin=margin_mebibytes(facts, pool, weights),
        )
        stages.append(_Stage(_corrected(memory, seen), cache))
        start = end
    return stages


def _either(seen: int | None, computed: int) -> int:
    return computed if seen is None else seen


def _corrected(memory: Memory, seen: Measured) -> Memory:
    """What the engine had left for its cache settles everything: the rest is charged to the activation."""
    if seen.available_kv is None:
        return memory
    rest = memory.budget - memory.weights - memory.non_torch - memory.cuda_graph - seen.available_kv
    return Memory(
        total=memory.total,
        budget=memory.budget,
        weights=memory.weights,
        activation=rest,
        non_torch=memory.non_torch,
        cuda_graph=memory.cuda_graph,
        kv_cache=memory.kv_cache,
        margin=0,
    )


def _weigh(
    facts: ModelFacts, pool: GpuPool, run: Run, stages: list[_Stage], measured: Measured | None
) -> Verdict:
    worst = min((stage.memory for stage in stages), key=lambda memory: memory.headroom)
    blocks = min(stage.cache.count(stage.memory.available_kv * MEBIBYTE) for stage in stages)
    sure = min(_sure_blocks(stage) for stage in stages)
    per_sequence = max(stage.cache.blocks(run.context_tokens) for stage in stages)
    most = facts.max_positions or r.MOST_CONTEXT_TOKENS
    shortage = 0 if measured else slack_shortage_mebibytes(facts, pool, run)
    recurrent = any(stage.cache.recurrent for stage in stages) and not run.enforce_eager
    short_of_blocks = recurrent and run.sequences > sure
    problem = _problem(worst, run, shortage, sure if short_of_blocks else None)
    if problem is None:
        label, reason = _label(facts, worst), words.headroom(worst, facts.unverified)
    else:
        label, reason = Label.DOES_NOT_FIT, problem
    return Verdict(
        tensor=run.tensor,
        pipeline=run.pipeline,
        label=label,
        reason=reason,
        memory=worst,
        available_kv=max(0, min(stage.memory.available_kv for stage in stages)),
        kv_tokens=blocks * run.context_tokens // per_sequence if per_sequence else 0,
        max_concurrency_hundredths=100 * blocks // per_sequence if per_sequence else 0,
        max_num_seqs=run.sequences,
        longest_context=0 if shortage else min(_longest(stage, most) for stage in stages),
        flags=flags_of(facts, run),
    )


def _sure_blocks(stage: _Stage) -> int:
    return stage.cache.count((stage.memory.available_kv - stage.memory.margin) * MEBIBYTE)


def _longest(stage: _Stage, most: int) -> int:
    room = stage.memory.available_kv - stage.memory.margin
    return stage.cache.longest(room * MEBIBYTE, most) if room >= 0 else 0


def _problem(worst: Memory, run: Run, shortage: int, blocks: int | None) -> str | None:
    if shortage:
        return (
            f"{words.gibibytes(shortage)} too little memory is left beside the budget for the CUDA context; "
            f"use at most {run.utilization_hundredths - -(-100 * shortage // worst.total)} % of the GPU"
        )
    if worst.headroom < worst.margin:
        return f"lacks {words.gibibytes(worst.margin - worst.headroom)} per GPU"
    if blocks is not None:
        return f"{run.sequences:,} sequences need a state each, the cache holds {blocks:,}"
    return None


def _label(facts: ModelFacts, worst: Memory) -> Label:
    if facts.unverified:
        return Label.UNVERIFIED
    return Label.TIGHT if worst.headroom < 2 * worst.margin else Label.FITS


def _larger_that_fits(facts: ModelFacts, pool: GpuPool, request: Request, verdict: Verdict) -> int | None:
    """Return the next world size that fits, with the same number of stages or with more of them."""
    for gpus in range(verdict.gpus + 1, MOST_GPUS + 1):
        for tensor, pipeline in (
            (gpus // verdict.pipeline, verdict.pipeline),
            (verdict.tensor, gpus // verdict.tensor),
        ):
            if tensor * pipeline == gpus and assess(facts, pool, request, tensor, pipeline).fits:
                return gpus
    return None

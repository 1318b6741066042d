"""The planner's sentences: verdicts, the arithmetic of every size that was tried, and what would fit instead.

The texts reach `status.plan.why` and the message of the condition `Planned`; they hold no clock and no
counter, so that an unchanged world gives an unchanged status.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from tertium.core.planner.gpus import MEMORY_LABEL, PRODUCT_LABEL, RESOURCE, GpuPool
from tertium.core.planner.releases import KV_BLOCK_TOKENS
from tertium.core.planner.verdict import Memory, Verdict

_LONGEST = 3500


def headroom(memory: Memory, unverified: str) -> str:
    """Say what is left; and where it is a bound, why."""
    left = f"headroom {gibibytes(memory.headroom)}"
    return f"{left}; {unverified}" if unverified else left


def with_remedies(verdict: Verdict, *, more_gpus: int | None, sequences: int, context_tokens: int) -> Verdict:
    """Add to a verdict what would fit: more GPUs, fewer sequences (0: none), a shorter context."""
    options = []
    if more_gpus is not None:
        options.append(f"needs {gpus(more_gpus, 'more ')}")
    if sequences:
        options.append(f"maxNumSeqs ≤ {sequences:,}")
    if KV_BLOCK_TOKENS <= verdict.longest_context < context_tokens:
        options.append(f"contextTokens ≤ {verdict.longest_context:,}")
    if not options:
        return verdict
    return replace(verdict, reason=f"{' or '.join(options)} ({verdict.reason})")


def chosen(pool: GpuPool, tried: Sequence[Verdict], passed_over: Sequence[GpuPool]) -> str:
    """Say why the last of `tried` is the plan, and why more preferred products are not."""
    before = [f"{other.product}: does not fit on {gpus(other.gpus_per_node)}" for other in passed_over]
    return _short(". ".join([*before, attempt(pool, tried)]))


def attempt(pool: GpuPool, tried: Sequence[Verdict]) -> str:
    """Say what became of the sizes that were tried on one product.

    Sizes that break a rule are named together with the first one's rule; of pipeline shapes that do not fit,
    which may be many, the one that lacks least stands for all.
    """
    memory = next((verdict.memory for verdict in tried if verdict.memory), None)
    usable = f"{memory.budget:,} of {pool.memory_mebibytes:,}" if memory else f"{pool.memory_mebibytes:,}"
    staged = [verdict for verdict in tried if verdict.pipeline > 1 and not verdict.fits]
    told = [verdict for verdict in tried if verdict.valid and verdict not in staged]
    weighed = [verdict for verdict in staged if verdict.memory is not None]
    if weighed:
        told.append(max(weighed, key=_left))
    invalid = [verdict for verdict in tried if not verdict.valid and (verdict.pipeline == 1 or not told)]
    outcomes = [_outcome(verdict) for verdict in told]
    if not told and len({verdict.reason for verdict in invalid}) == 1 < len(invalid):
        outcomes.append(invalid[0].reason)
    elif invalid:
        sizes = either(dict.fromkeys(verdict.gpus for verdict in invalid))
        outcomes.append(f"not on {sizes}: {invalid[0].reason}")
    return f"{pool.product} ({usable} MiB usable per GPU): {'; '.join(outcomes)}"


def _left(verdict: Verdict) -> int:
    return verdict.memory.headroom if verdict.memory else 0


def refusal(sentences: Iterable[str]) -> str:
    """Join the sentences of a refusal, the offer last and whole."""
    *attempts, offer = sentences
    return f"{_short('. '.join(attempts))}. {offer}" if attempts else offer


def no_accelerator(pools: Sequence[GpuPool], wanted: Sequence[str]) -> str:
    """Say which GPUs the cluster has instead of the ones asked for."""
    if not pools:
        return (
            f"no schedulable node has {RESOURCE} together with the labels {PRODUCT_LABEL} and "
            f"{MEMORY_LABEL}, which NVIDIA's GPU feature discovery sets"
        )
    return (
        f"spec.accelerators: no node has {either(wanted)}; the cluster has "
        f"{', '.join(dict.fromkeys(pool.product for pool in pools))}"
    )


def gpus(count: int, which: str = "") -> str:
    """Spell a number of GPUs."""
    return f"{count} {which}GPU" if count == 1 else f"{count} {which}GPUs"


def shape(tensor: int, pipeline: int) -> str:
    """Spell a shape."""
    stages = f" in {pipeline} stages of {tensor}" if pipeline > 1 else ""
    return f"{gpus(tensor * pipeline)}{stages}"


def gibibytes(mebibytes: int) -> str:
    """Spell an amount of memory with one decimal."""
    return f"{mebibytes / 1024:.1f} GiB"


def either(options: Iterable[object]) -> str:
    """Join options for a sentence: `1, 2 or 4`."""
    *most, last = [str(option) for option in options]
    return f"{', '.join(most)} or {last}" if most else last


def _outcome(verdict: Verdict) -> str:
    name, part = shape(verdict.tensor, verdict.pipeline), verdict.memory
    if part is None:
        return f"{name}: {verdict.reason}"
    parts = f"weights {part.weights:,} + overhead {part.overhead:,} + KV cache {part.kv_cache:,}"
    if verdict.fits:
        given_up = f", with {' and '.join(verdict.gave_up)}" if verdict.gave_up else ""
        return f"{name}: fits{given_up}, {parts} = {part.needed:,} MiB, headroom {part.headroom:,}"
    if part.headroom < part.margin:
        return f"{name}: needs {parts} = {part.needed:,} MiB and a margin of {part.margin:,}"
    return f"{name}: {verdict.reason}"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"

"""What a refusal offers instead: a longest context, fewer sequences, the next GPU that works."""

from __future__ import annotations

from collections.abc import Sequence

from tertium.core.planner import words
from tertium.core.planner.facts import ModelFacts
from tertium.core.planner.gpus import GpuPool, known_memory, known_products
from tertium.core.planner.judge import assess, most_sequences
from tertium.core.planner.measured import Repair
from tertium.core.planner.releases import KV_BLOCK_TOKENS
from tertium.core.planner.request import Request
from tertium.core.planner.verdict import Verdict


def counter_offer(
    facts: ModelFacts, tried: Sequence[tuple[GpuPool, Verdict]], request: Request, larger: tuple[str, str]
) -> str:
    """Say what would work: a shorter context, fewer sequences, another GPU.

    Before and after them `larger` shapes: without the pinned sizes, and over several nodes; or empty texts.
    """
    unpinned, over_nodes = larger
    offers = [unpinned] if unpinned else []
    context, gpus, product = max(
        ((verdict.longest_context, -verdict.gpus, pool.product) for pool, verdict in tried),
        default=(0, 0, ""),
    )
    if KV_BLOCK_TOKENS <= context < request.context_tokens:
        offers.append(f"a context of up to {context} tokens fits on {words.gpus(-gpus)} of {product}")
    sequences = _most_sequences(facts, tried, request)
    if sequences:
        offers.append(sequences)
    offers += [offer for offer in (_next_product(facts, tried, request), over_nodes) if offer]
    if not offers:
        return "Nothing smaller fits either; use GPUs with more memory or nodes with more of them"
    return f"What works: {'; '.join(offers)}"


def nothing_to_try(pool: GpuPool, request: Request) -> str:
    """Say why no shape exists on a product."""
    pinned = words.shape(request.tensor or 1, request.pipeline or 1)
    at_least = f", and {words.gpus(request.least_gpus)} are needed" if request.least_gpus > 1 else ""
    return f"{pool.product}: no node has more than {words.gpus(pool.gpus_per_node)} for {pinned}{at_least}"


def repaired(repair: Repair | None) -> list[str]:
    """Say what earlier starts taught."""
    if repair is None:
        return []
    learned = []
    if repair.least_gpus > 1:
        learned.append(f"it did not start on fewer than {words.gpus(repair.least_gpus)}")
    if repair.max_num_seqs is not None:
        learned.append(f"it started with at most {repair.max_num_seqs} sequences")
    if repair.enforce_eager:
        learned.append("it did not start with CUDA graphs")
    return [f"Learned from the engine: {', '.join(learned)}"] if learned else []


def _most_sequences(facts: ModelFacts, tried: Sequence[tuple[GpuPool, Verdict]], request: Request) -> str:
    """Name the most sequences, below those asked for, with which the roomiest shape that was tried fits."""
    weighed = [(pool, verdict) for pool, verdict in tried if verdict.memory is not None]
    if not weighed:
        return ""
    pool, verdict = max(weighed, key=lambda entry: entry[1].longest_context)
    most = most_sequences(facts, pool, request, verdict)
    return f"{most} sequences at once fit on {words.gpus(verdict.gpus)} of {pool.product}" if most else ""


def _next_product(facts: ModelFacts, tried: Sequence[tuple[GpuPool, Verdict]], request: Request) -> str:
    """Name the smallest well-known GPU on which one of the tried shapes fits."""
    whole = [verdict for _, verdict in tried if verdict.pipeline == 1]
    # Where no shape is valid, it may be for what this product cannot do and another can.
    valid = [verdict for verdict in whole if verdict.valid]
    shapes = sorted({(v.gpus, v.tensor, v.pipeline) for v in valid or whole})
    largest = max((pool.memory_mebibytes for pool, _ in tried), default=0)
    known = sorted((known_memory(name) or 0, name) for name in known_products())
    for memory, name in known:
        pool = GpuPool(product=name, memory_mebibytes=memory, gpus_per_node=1)
        if memory <= largest or (valid and not assess(facts, pool, request, *shapes[-1][1:]).fits):
            continue
        for gpus, tensor, pipeline in shapes:
            if assess(facts, pool, request, tensor, pipeline).fits:
                return f"{words.gpus(gpus)} of {name}"
    return ""

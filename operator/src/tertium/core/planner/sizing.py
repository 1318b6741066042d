"""The operator's question to the planner: from an LLMDeployment's spec to a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tertium.api.conditions import Reason
from tertium.api.v1alpha1 import LLMDeploymentSpec
from tertium.core.planner import words
from tertium.core.planner.facts import ModelFacts
from tertium.core.planner.gpus import GpuPool
from tertium.core.planner.legal import violation
from tertium.core.planner.measured import Measured, Repair
from tertium.core.planner.outcome import Refused, Sizing
from tertium.core.planner.releases import DEFAULT_ENGINE_VERSION, releases_of
from tertium.core.planner.request import Request
from tertium.core.planner.search import search


def size(
    facts: ModelFacts,
    pools: Sequence[GpuPool],
    spec: LLMDeploymentSpec,
    *,
    engine_version: str = DEFAULT_ENGINE_VERSION,
    measured: Mapping[str, Measured] | None = None,
    repairs: Mapping[str, Repair] | None = None,
) -> Sizing | Refused:
    """Return the smallest world size that holds one replica of `spec`, or why there is none.

    A replica must hold one sequence of `capacity.contextTokens`: the engine refuses to start with less. More
    sequences share what is left; `capacity.concurrentSequences` bounds how many the engine runs at once.
    """
    impossible = _impossible(facts, spec, engine_version)
    if impossible is not None:
        return Refused(reason=Reason.INVALID, message=impossible)
    allowed = _allowed(pools, spec)
    if not allowed:
        products = [accelerator.product for accelerator in spec.accelerators]
        return Refused(reason=Reason.NO_ACCELERATOR, message=words.no_accelerator(pools, products))
    return search(
        facts,
        allowed,
        request_of(spec, engine_version),
        ordered=bool(spec.accelerators),
        measured=measured,
        repairs=repairs,
    )


def request_of(spec: LLMDeploymentSpec, engine_version: str = DEFAULT_ENGINE_VERSION) -> Request:
    """Return what a spec asks for. One replica is one pod, so it stays on one node."""
    return Request(
        context_tokens=spec.capacity.context_tokens,
        max_num_seqs=spec.capacity.concurrent_sequences,
        kv_cache=spec.precision.kv_cache,
        tensor=spec.parallelism.tensor,
        pipeline=spec.parallelism.pipeline,
        engine_version=engine_version,
    )


def _impossible(facts: ModelFacts, spec: LLMDeploymentSpec, engine_version: str) -> str | None:
    """Return what of a spec no GPU could make possible, or None."""
    limit, wanted = facts.max_positions, spec.capacity.context_tokens
    if limit is not None and wanted > limit:
        return (
            f"spec.capacity.contextTokens: {wanted:,} is more than the {limit:,} tokens this model takes; "
            f"set it to {limit} or less"
        )
    pinned = spec.parallelism.tensor
    broken = _refusal(facts, engine_version, pinned) if pinned else None
    if broken is None:
        return None
    legal = [tensor for tensor in range(1, 17) if _refusal(facts, engine_version, tensor) is None]
    works = f"; up to 16 GPUs it can be split over {words.either(legal)}" if legal else ""
    return f"spec.parallelism.tensor: {pinned} is impossible for this model: {broken}{works}"


def _refusal(facts: ModelFacts, engine_version: str, tensor: int) -> str | None:
    """Return why no release that the engine may be takes this split, in the newest one's words, or None."""
    broken = [violation(facts, release, tensor) for release in releases_of(engine_version)]
    return broken[-1] if all(broken) else None


def _allowed(pools: Sequence[GpuPool], spec: LLMDeploymentSpec) -> list[GpuPool]:
    if not spec.accelerators:
        return list(pools)
    by_product = {pool.product: pool for pool in pools}
    wanted = dict.fromkeys(accelerator.product for accelerator in spec.accelerators)
    return [by_product[product] for product in wanted if product in by_product]

"""What the engine said of a start, which replaces the model's arithmetic, and what must change to start.

Both are kept by keys that name everything they depend on, so that they can never be applied to another case.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from tertium.core.planner.verdict import Memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Parts of one GPU's memory as the engine logged them, in MiB; None where it did not say."""

    weights: int | None = None
    activation: int | None = None
    non_torch: int | None = None
    cuda_graph: int | None = None
    available_kv: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What a start that failed for memory taught about one product."""

    max_num_seqs: int | None = None
    enforce_eager: bool = False
    least_gpus: int = 1


def measurement_key(digest: str, product: str, engine_version: str, flags: Sequence[str]) -> str:
    """Return the key of a measurement: model, GPU, engine and flags; the flags hold the shape."""
    return _key(digest, product, engine_version, *sorted(flags))


def repair_key(digest: str, product: str, engine_version: str) -> str:
    """Return the key of a repair: model, GPU and engine."""
    return _key(digest, product, engine_version)


def drift_percent(planned: Memory, seen: Measured) -> dict[str, int]:
    """Return by how many percent of the budget each part that was seen differs from the plan, signed.

    A share of the budget, not of the part: what matters is whether a replica fits.
    """
    expected = {
        "weights": (planned.weights, seen.weights),
        "activation": (planned.activation, seen.activation),
        "nonTorch": (planned.non_torch, seen.non_torch),
        "cudaGraph": (planned.cuda_graph, seen.cuda_graph),
        "availableKv": (planned.available_kv, seen.available_kv),
    }
    return {
        part: round(100 * (actual - plan) / planned.budget)
        for part, (plan, actual) in expected.items()
        if actual is not None
    }


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]

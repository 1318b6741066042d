"""The answer for one shape: whether it starts, with the memory of a GPU by part."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Label(StrEnum):
    """The verdict in one word."""

    FITS = "Fits"
    TIGHT = "Tight"
    UNVERIFIED = "Unverified"
    DOES_NOT_FIT = "DoesNotFit"
    INVALID = "Invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """One GPU's memory under a plan, in MiB, on the stage with the least headroom."""

    total: int
    budget: int
    """What the engine may use."""
    weights: int
    activation: int
    non_torch: int
    cuda_graph: int
    """Charged to the budget; 0 for releases that capture graphs beside it."""
    kv_cache: int
    """What one sequence of the full context needs."""
    margin: int
    """What the arithmetic may be wrong by."""

    @property
    def overhead(self) -> int:
        """Everything besides weights and KV cache."""
        return self.activation + self.non_torch + self.cuda_graph

    @property
    def needed(self) -> int:
        """All parts together, without the margin."""
        return self.weights + self.overhead + self.kv_cache

    @property
    def headroom(self) -> int:
        """What is left of the budget; negative where it is not enough."""
        return self.budget - self.needed

    @property
    def available_kv(self) -> int:
        """What is left for the KV cache of all sequences."""
        return self.budget - self.weights - self.overhead


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a shape starts with these flags."""

    tensor: int
    pipeline: int
    label: Label
    reason: str
    """The verdict's words without its label: a headroom, what is missing, or the rule that is broken."""
    memory: Memory | None = None
    """None where the shape is invalid."""
    available_kv: int = 0
    """MiB for the KV cache on the stage with the least."""
    kv_tokens: int = 0
    max_concurrency_hundredths: int = 0
    """Sequences of the full context that the cache holds at once, in hundredths."""
    max_num_seqs: int = 0
    longest_context: int = 0
    """Tokens that would fit, margin included; 0: none."""
    flags: tuple[str, ...] = ()
    gave_up: tuple[str, ...] = ()
    """What the search gave up so that it fits, in words."""

    @property
    def gpus(self) -> int:
        """The world size."""
        return self.tensor * self.pipeline

    @property
    def valid(self) -> bool:
        """Whether the engine accepts the shape."""
        return self.label is not Label.INVALID

    @property
    def fits(self) -> bool:
        """Whether it starts."""
        return self.label in (Label.FITS, Label.TIGHT, Label.UNVERIFIED)

    @property
    def text(self) -> str:
        """The verdict as a person reads it."""
        return f"{self.label} ({self.reason})" if self.fits else f"{self.label}: {self.reason}"

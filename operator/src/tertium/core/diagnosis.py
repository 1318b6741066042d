"""Why an engine could not start, as a value that a decision can use: the kind of fault, and its numbers.

Pure data. It knows no log: who reads one fills it in.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """What kept the engine from starting."""

    NOT_ENOUGH_FREE = "NotEnoughFree"
    """Another process holds memory of the GPU."""
    NO_CACHE_BLOCKS = "NoCacheBlocks"
    """Weights and buffers leave nothing for the KV cache."""
    SEQUENCE_TOO_LONG = "SequenceTooLong"
    """The KV cache does not hold one sequence of the planned length."""
    TOO_MANY_SEQUENCES = "TooManySequences"
    """The cache has fewer state blocks than sequences are to run at the same time."""
    OUT_OF_MEMORY = "OutOfMemory"
    """The GPU's memory ran out in a step the engine does not budget for, or while it loaded the weights."""
    INVALID = "Invalid"
    """The model cannot be split or configured like this."""
    OTHER = "Other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """One fault; a number is None where the engine did not say it or it has no meaning for this kind."""

    kind: Fault
    sentence: str
    """For people, without a full stop."""
    needed_mebibytes: int | None = None
    """What was asked for: the budget, one sequence's KV cache, or the allocation that failed."""
    available_mebibytes: int | None = None
    """What there was of it."""
    longest_tokens: int | None = None
    """The longest sequence that the memory would hold."""
    blocks: int | None = None
    """State blocks there are: as many sequences can run at the same time."""

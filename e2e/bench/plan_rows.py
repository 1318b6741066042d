"""Measured starts of engines, as rows of `tertium plan --batch` that also hold what was seen (`_expect`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tertium.cli.plan_batch import ANY_RELEASE, Row, judge_row
from tertium.core.planner import GpuPool, ModelFacts, Request, Verdict
from tertium.core.planner.releases import version_number

GIBIBYTE: Final = 1 << 30
_COUNTED_SINCE: Final = (0, 17)
"""Older engines prefill at once, sort in the sampler, keep graphs beside the budget: they are shown apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One start that was tried: the question a row asks, and its outcome."""

    row: Row
    facts: ModelFacts
    pool: GpuPool
    request: Request
    model: str
    loads: bool
    available_kv_gib: float | None
    is_divisibility: bool
    error: str

    @property
    def tensor(self) -> int:
        """Ranks every layer is split over."""
        return self.row.tensor_parallel_size or 1

    @property
    def pipeline(self) -> int:
        """Stages."""
        return self.row.pipeline_parallel_size or 1

    @property
    def gpus(self) -> int:
        """The world size."""
        return self.tensor * self.pipeline

    @property
    def weight_bytes(self) -> int:
        """Bytes of the checkpoint."""
        return self.row.weight_bytes or self.facts.weight_bytes

    @property
    def is_recent(self) -> bool:
        """Whether the engine is recent, or of a release that nobody noted."""
        number = version_number(self.row.vllm_version or ANY_RELEASE)
        return number is None or number >= _COUNTED_SINCE

    def verdict(self) -> Verdict:
        """What the planner says."""
        return judge_row(self.row, self.facts)

    def label(self) -> str:
        """The row in a few words."""
        shape = f"TP{self.tensor}" + (f" PP{self.pipeline}" if self.pipeline > 1 else "")
        version = self.row.vllm_version or "unknown"
        return f"{self.model}, {shape} on {self.row.gpu}, {self.row.context_tokens:,} tokens, vLLM {version}"


def read_starts(file: Path) -> list[Start]:
    """Read rows. Raises OSError, or ValueError for a row that is none."""
    with file.open(encoding="utf-8") as lines:
        return [parse_start(json.loads(line)) for line in lines if line.strip()]


def parse_start(document: Mapping[str, Any]) -> Start:
    """Read one row with its outcome."""
    row, seen = Row.model_validate(document), document["_expect"]
    return Start(
        row=row,
        facts=row.facts(Path()),
        pool=row.pool(),
        request=row.request(),
        model=str(seen["model"]),
        loads=bool(seen["loads"]),
        available_kv_gib=seen.get("kv"),
        is_divisibility=bool(seen.get("divisibility")),
        error=str(seen.get("error") or ""),
    )


def models(starts: Sequence[Start]) -> list[str]:
    """The models in the order in which they come."""
    return list(dict.fromkeys(start.model for start in starts))

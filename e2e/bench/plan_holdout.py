"""Whether the planner's fitted constants hold for models that they were not fitted on.

What the profiling run showed of activation and of memory outside PyTorch is taken from start-up logs. Each
model's logs are predicted twice: with the shipped constants, and with constants fitted on all other models.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from e2e.bench.plan_rows import Start
from tertium.core.planner import releases
from tertium.core.planner.judge import run_of
from tertium.core.planner.overhead import activation_mebibytes

_COPIES_TENTHS: Final = range(25, 51)
"""Where the fit looks for the sampler's peak, in tenths of one copy of its logits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one log said of a start, in GiB."""

    start: Start
    activation: float
    non_torch: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Constants:
    """The fitted ones, in MiB but for the tenths."""

    copies_tenths: int
    fixed: float
    encoder: float
    alone: float
    fast_link: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The worst error over one model's logs, in GiB: with the shipped constants, and without its own logs."""

    model: str
    logs: int
    shipped: float
    held_out: float


def read_seen(file: Path, starts: Sequence[Start]) -> list[Seen]:
    """Find the logs of the starts: observations with the parts that the engine printed."""
    by_question = {_question(start): start for start in starts if start.is_recent and start.row.vllm_version}
    found = []
    for line in file.read_text(encoding="utf-8").splitlines():
        observed = json.loads(line)
        start = by_question.get(_asked(observed))
        parts = observed["observed"]
        if start is None or observed.get("dtype") == "float32" or parts.get("non_torch_gib") is None:
            continue
        found.append(Seen(start=start, activation=parts["activation_gib"], non_torch=parts["non_torch_gib"]))
    return found


def other_precision(file: Path, starts: Sequence[Start]) -> list[Start]:
    """Find the starts that ran in 32 bits: their logs say so, and a row cannot."""
    doubled = {
        (_asked(observed), observed["observed"]["available_kv_gib"])
        for observed in map(json.loads, file.read_text(encoding="utf-8").splitlines())
        if observed.get("dtype") == "float32"
    }
    return [start for start in starts if (_question(start), start.available_kv_gib) in doubled]


def hold_out(seen: Sequence[Seen]) -> list[Held]:
    """Leave each model out once."""
    names = sorted({entry.start.model for entry in seen})
    return [_held(name, seen) for name in names]


def shipped() -> Constants:
    """The constants the planner has for the release that the logs are of."""
    (release,) = releases.releases_of("0.19.0")
    return Constants(
        copies_tenths=release.sampler_tenths,
        fixed=releases.ACTIVATION_FIXED,
        encoder=releases.ENCODER,
        alone=release.non_torch_alone,
        fast_link=release.non_torch_fast_link,
    )


def fit(seen: Sequence[Seen]) -> Constants:
    """Fit the constants: the copies with the least spread, the others as medians of what is left."""
    return min((_fit_rest(tenths, seen) for tenths in _COPIES_TENTHS), key=lambda c: _spread(c, seen))


def predicted(constants: Constants, entry: Seen) -> tuple[float, float]:
    """Activation and memory outside PyTorch, in GiB."""
    encoder = constants.encoder if entry.start.facts.has_encoder else 0
    activation = _counted(constants.copies_tenths, entry) + constants.fixed + encoder
    alone, linked = constants.alone, constants.fast_link
    outside = linked if entry.start.tensor > 1 else releases.NON_TORCH_PIPELINE
    if entry.start.gpus == 1:
        outside = alone
    return activation / 1024, outside / 1024


def _held(model: str, seen: Sequence[Seen]) -> Held:
    own = [entry for entry in seen if entry.start.model == model]
    others = fit([entry for entry in seen if entry.start.model != model])
    return Held(
        model=model,
        logs=len(own),
        shipped=max((_error(shipped(), entry) for entry in own), key=abs),
        held_out=max((_error(others, entry) for entry in own), key=abs),
    )


def _fit_rest(tenths: int, seen: Sequence[Seen]) -> Constants:
    rest = [(entry, entry.activation * 1024 - _counted(tenths, entry)) for entry in seen]
    fixed = _median([left for entry, left in rest if not entry.start.facts.has_encoder], 0)
    return Constants(
        copies_tenths=tenths,
        fixed=fixed,
        encoder=_median([left - fixed for entry, left in rest if entry.start.facts.has_encoder], 0),
        alone=_median([entry.non_torch * 1024 for entry in seen if entry.start.gpus == 1], 0),
        fast_link=_median([entry.non_torch * 1024 for entry in seen if entry.start.tensor > 1], 0),
    )


def _counted(tenths: int, entry: Seen) -> float:
    """The terms of the activation that are counted, in MiB: without the fitted sums."""
    start = entry.start
    (release,) = releases.releases_of(start.request.engine_version)
    changed = replace(release, sampler_tenths=tenths)
    run = run_of(start.pool, start.request, start.tensor, start.pipeline, changed)
    encoder = releases.ENCODER if start.facts.has_encoder else 0
    # The stage with the sampler is the one that decides, unless the engine printed another's.
    whole = activation_mebibytes(start.facts, run, samples=start.pipeline == 1)
    return whole - releases.ACTIVATION_FIXED - encoder


def _error(constants: Constants, entry: Seen) -> float:
    activation, outside = predicted(constants, entry)
    return activation - entry.activation + outside - entry.non_torch


def _spread(constants: Constants, seen: Sequence[Seen]) -> float:
    return sum(abs(predicted(constants, entry)[0] - entry.activation) for entry in seen)


def _median(values: Sequence[float], default: float) -> float:
    return statistics.median(values) if values else default


def _question(start: Start) -> tuple[Any, ...]:
    row = start.row
    return (start.model, start.tensor, start.pipeline, row.context_tokens, row.gpu, row.vllm_version)


def _asked(observed: Mapping[str, Any]) -> tuple[Any, ...]:
    keys = ("model", "tp", "pp", "max_model_len", "gpu", "vllm_version")
    return tuple(observed.get(key) for key in keys)

"""A plan for people: every candidate with a bar of where its memory goes, then the plan or the refusal."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Sequence
from typing import Final, TextIO

from tertium.cli.plan_subject import Subject
from tertium.core.planner import Memory, Refused, Sizing

_WIDTH: Final = 32
"""Cells of the budget; a bar of more than it grows past its end, to half of it at most."""
_PARTS: Final = (
    ("█", "34", "weights", "weights"),
    ("▓", "32", "KV cache", "kv_cache"),
    ("▒", "33", "activation", "activation"),
    ("░", "35", "engine", "engine"),
)
_FREE: Final = "·"
_GIBIBYTE: Final = 1024


def wants_colour(stream: TextIO) -> bool:
    """Colour only for people who did not ask for none: https://no-color.org."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def render(subject: Subject, outcome: Sizing | Refused, *, colour: bool) -> str:
    """Return the whole answer."""
    lines = [_heading(subject), "", *_candidates(outcome, colour=colour), "", _legend(colour=colour), ""]
    if isinstance(outcome, Refused):
        lines.append(f"{outcome.reason}: {outcome.message}")
    else:
        lines += [f"{name:<22}{value}" for name, value in _plan(outcome)]
    return "\n".join(lines) + "\n"


def _heading(subject: Subject) -> str:
    facts, request = subject.facts, subject.request
    concurrency = "" if request.max_num_seqs is None else f" x {request.max_num_seqs:,} sequences"
    weights = gibibytes(facts.weight_bytes >> 20)
    return (
        f"{subject.name}: {facts.architecture}, {facts.shape.layers} layers, {weights} of weights; "
        f"{request.context_tokens:,} tokens{concurrency}; vLLM {request.engine_version}"
    )


def _candidates(outcome: Sizing | Refused, *, colour: bool) -> Iterable[str]:
    chosen = None if isinstance(outcome, Refused) else outcome.verdict
    width = max((len(candidate.pool.product) for candidate in outcome.candidates), default=3)
    memories = [candidate.verdict.memory for candidate in outcome.candidates]
    past = max((len(bar(memory)) - _WIDTH for memory in memories if memory), default=0)
    yield f"  {'GPU':<{width}}  TP x PP  what each GPU must hold, against its budget"
    for candidate in outcome.candidates:
        verdict = candidate.verdict
        mark = "→" if verdict is chosen else " "
        shape = f"{verdict.tensor:>2} x {verdict.pipeline:<2}"
        start = f"{mark} {candidate.pool.product:<{width}}  {shape}"
        if verdict.memory is None:
            yield f"{start}  {verdict.text}"
            continue
        cells = f"{bar(verdict.memory):<{_WIDTH + past}}"
        drawn = _paint(cells[:_WIDTH], colour=colour) + "|" + _paint(cells[_WIDTH:], colour=colour)
        sizes = f"{gibibytes(verdict.memory.needed):>9} of {gibibytes(verdict.memory.budget)}"
        yield f"{start}  {drawn} {sizes}  {verdict.text}"


def bar(memory: Memory) -> str:
    """Draw the parts of one GPU's memory against its budget, a cell for a 32nd of it."""
    parts = zip(_PARTS, _cells(memory), strict=True)
    drawn = "".join(glyph * count for (glyph, *_), count in parts)
    most = _WIDTH + _WIDTH // 2
    return f"{drawn:{_FREE}<{_WIDTH}}" if len(drawn) <= most else drawn[: most - 1] + "»"


def _cells(memory: Memory) -> Sequence[int]:
    """Cells of each part; every border is right to a cell, so the bar ends where the sum does."""
    engine = memory.non_torch + memory.cuda_graph
    sizes = (memory.weights, memory.kv_cache, memory.activation, engine)
    borders, total = [0], 0
    for size in sizes:
        total += size
        borders.append(-(-total * _WIDTH // max(1, memory.budget)))
    return [after - before for before, after in itertools.pairwise(borders)]


def _paint(drawn: str, *, colour: bool) -> str:
    if not colour:
        return drawn
    codes = {glyph: code for glyph, code, *_ in _PARTS}
    runs = ((cell, "".join(run)) for cell, run in itertools.groupby(drawn))
    return "".join(f"\x1b[{codes[cell]}m{run}\x1b[0m" if cell in codes else run for cell, run in runs)


def _legend(*, colour: bool) -> str:
    shown = [f"{_paint(glyph, colour=colour)} {name}" for glyph, _, name, _ in _PARTS]
    return "  " + "  ".join([*shown, f"{_FREE} free"])


def _plan(plan: Sizing) -> Iterable[tuple[str, str]]:
    verdict, memory = plan.verdict, plan.memory
    parts = {
        "weights": memory.weights,
        "activation": memory.activation,
        "outside PyTorch": memory.non_torch,
        "CUDA graphs": memory.cuda_graph,
        "KV cache": memory.kv_cache,
        "headroom": memory.headroom,
    }
    yield "verdict", verdict.text
    yield "accelerator", plan.accelerator
    yield (
        "GPUs per replica",
        f"{plan.gpus_per_replica} (tensor {verdict.tensor} x pipeline {verdict.pipeline})",
    )
    yield "memory per GPU", f"{memory.total:,} MiB, {memory.budget:,} usable"
    yield from ((f"  {name}", f"{size:,} MiB") for name, size in parts.items())
    yield (
        "KV cache holds",
        f"{verdict.kv_tokens:,} tokens, {verdict.max_concurrency_hundredths / 100:.2f} sequences",
    )
    yield "flags", " ".join(plan.flags)
    yield "why", plan.why


def gibibytes(mebibytes: int) -> str:
    """A size for people."""
    return f"{mebibytes / _GIBIBYTE:.1f} GiB"

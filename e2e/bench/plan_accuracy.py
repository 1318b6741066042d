"""How often the planner is right about measured starts, beside the formulas of other tools.

    python -m e2e.bench.plan_accuracy --rows FILE [--observations FILE] [--json FILE] [--markdown FILE]

FILE holds a row of `tertium plan --batch` a line, with what was seen in `_expect`: `{"model", "loads", "kv",
"divisibility", "error"}`. Observations are start-up logs with their parts; with them the fitted constants are
tried on models they were not fitted on. Exit code 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from e2e.bench import plan_holdout, plan_speed
from e2e.bench.plan_peers import PEERS
from e2e.bench.plan_rows import Start, read_starts
from tertium.core.planner import Verdict

REJECTED_SHARE: Final = 0.03
KV_MEAN_GIB: Final = 0.3
KV_WORST_GIB: Final = 1.0
SPEED_MILLIS: Final = {"dense": 20.0, "experts": 150.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One estimator's answers: a failing start that is accepted is a crash loop, the reverse wastes GPUs."""

    name: str
    loads_accepted: int
    fails_accepted: int
    loads_rejected: int
    fails_rejected: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that is printed. Lists hold rows in words, with what was said and seen."""

    rows: int
    scores: tuple[Score, ...]
    recent_scores: tuple[Score, ...]
    unsafe: tuple[str, ...]
    rejected: tuple[str, ...]
    loading: int
    divisibility: int
    divisibility_wrong: tuple[str, ...]
    kv_errors: tuple[tuple[float, str], ...]
    kv_left_out: tuple[str, ...]
    held_out: tuple[plan_holdout.Held, ...]
    speeds: tuple[plan_speed.Speed, ...]
    imported: tuple[str, ...]

    @property
    def kv_mean(self) -> float:
        """Mean error of the available KV memory without its sign, in GiB."""
        return statistics.mean(abs(error) for error, _ in self.kv_errors) if self.kv_errors else 0.0

    @property
    def kv_worst(self) -> float:
        """The largest of them."""
        return max((abs(error) for error, _ in self.kv_errors), default=0.0)

    def missed(self) -> list[str]:
        """The bars that are missed, in words."""
        bars = {
            f"{len(self.unsafe)} accepted rows fail": not self.unsafe,
            f"{len(self.rejected)} of {self.loading} loading rows are rejected": (
                len(self.rejected) <= REJECTED_SHARE * self.loading
            ),
            f"{len(self.divisibility_wrong)} divisibility rows are wrong": not self.divisibility_wrong,
            f"available KV is {self.kv_mean:.2f} GiB off on average": self.kv_mean <= KV_MEAN_GIB,
            f"available KV is {self.kv_worst:.2f} GiB off at worst": self.kv_worst <= KV_WORST_GIB,
            f"a plan imports {', '.join(self.imported)}": not self.imported,
        }
        slow = {
            f"{speed.model}: {speed.plan_millis:.0f} ms": speed.plan_millis <= SPEED_MILLIS[speed.model]
            for speed in self.speeds
        }
        return [text for text, met in (bars | slow).items() if not met]


def report(
    starts: Sequence[Start], seen: Sequence[plan_holdout.Seen], left_out: Sequence[Start] = ()
) -> Report:
    """Score the planner and its peers on the starts; the available KV of `left_out` is not compared."""
    verdicts = {id(start): start.verdict() for start in starts}
    fitting = [start for start in starts if not start.is_divisibility]
    recent = [start for start in fitting if start.is_recent]

    def ours(start: Start) -> bool:
        return verdicts[id(start)].fits

    def said(chosen: Iterable[Start]) -> tuple[str, ...]:
        return tuple(_words(start, verdicts[id(start)]) for start in chosen)

    rules: dict[str, Callable[[Start], bool]] = {"**Tertium**": ours, **PEERS}
    split = [start for start in starts if start.is_divisibility]
    logged = [
        start
        for start in recent
        if start.available_kv_gib is not None and start.row.vllm_version and start not in left_out
    ]
    return Report(
        rows=len(starts),
        scores=tuple(_score(name, rule, fitting) for name, rule in rules.items()),
        recent_scores=tuple(_score(name, rule, recent) for name, rule in rules.items()),
        unsafe=said(start for start in recent if ours(start) and not start.loads),
        rejected=said(start for start in fitting if start.loads and not ours(start)),
        loading=sum(start.loads for start in fitting),
        divisibility=len(split),
        divisibility_wrong=said(s for s in split if verdicts[id(s)].valid != s.loads),
        kv_errors=tuple(sorted(_kv_error(start, verdicts[id(start)]) for start in logged)),
        kv_left_out=tuple(start.label() for start in left_out),
        held_out=tuple(plan_holdout.hold_out(seen)),
        speeds=tuple(plan_speed.measure()),
        imported=tuple(plan_speed.imported_packages()),
    )


def _score(name: str, rule: Callable[[Start], bool], starts: Sequence[Start]) -> Score:
    answers = [(start.loads, rule(start)) for start in starts]
    return Score(
        name=name,
        loads_accepted=answers.count((True, True)),
        fails_accepted=answers.count((False, True)),
        loads_rejected=answers.count((True, False)),
        fails_rejected=answers.count((False, False)),
    )


def _kv_error(start: Start, verdict: Verdict) -> tuple[float, str]:
    assert start.available_kv_gib is not None
    return verdict.available_kv / 1024 - start.available_kv_gib, start.label()


def _words(start: Start, verdict: Verdict) -> str:
    return (
        f"{start.label()}: {verdict.text}; seen: {'it loads' if start.loads else start.error or 'it fails'}"
    )


def markdown(found: Report) -> str:
    """The report for people."""
    lines = ["## Does it start?", "", f"{found.rows} rows, engines of every age:", ""]
    lines += _score_table(found.scores)
    lines += [
        "",
        "Of those, engines since 0.17 or of an unknown release:",
        "",
        *_score_table(found.recent_scores),
    ]
    right = found.divisibility - len(found.divisibility_wrong)
    lines += ["", f"Divisibility: {right} of {found.divisibility} rows right.", ""]
    for title, rows in (
        ("accepted, yet it fails", found.unsafe),
        ("rejected, yet it loads", found.rejected),
        ("divisibility, wrong", found.divisibility_wrong),
    ):
        lines += [f"- {title}: {row}" for row in rows]
    if found.kv_errors:
        lines += ["", "## Available KV memory", ""]
        lines.append(
            f"{len(found.kv_errors)} logs since 0.17: error {found.kv_mean:.2f} GiB on average, "
            f"{found.kv_worst:.2f} GiB at worst."
        )
        ends = sorted(found.kv_errors, key=lambda entry: -abs(entry[0]))[:5]
        lines += ["", *(f"- {error:+.2f} GiB: {label}" for error, label in ends)]
        lines += [f"- not compared, it ran in 32 bits: {label}" for label in found.kv_left_out]
    if found.held_out:
        lines += ["", "## Fitted constants, on models they were not fitted on", ""]
        lines += ["| model | logs | worst error, as shipped | worst error, its logs left out |"]
        lines += ["| --- | --- | --- | --- |"]
        lines += [
            f"| {held.model} | {held.logs} | {held.shipped:+.2f} GiB | {held.held_out:+.2f} GiB |"
            for held in found.held_out
        ]
    lines += ["", "## Speed", "", "| model | tensors | headers to plan | stored facts to plan |"]
    lines += ["| --- | --- | --- | --- |"]
    lines += [
        f"| {speed.model} | {speed.tensors:,} | {speed.plan_millis:.1f} ms | {speed.stored_millis:.1f} ms |"
        for speed in found.speeds
    ]
    missed = found.missed()
    return "\n".join([*lines, "", f"Missed: {'; '.join(missed)}." if missed else "Every bar is met.", ""])


def _score_table(scores: Sequence[Score]) -> list[str]:
    head = "| estimator | loads, accepted | **fails, accepted** | loads, rejected | fails, rejected |"
    rows = [
        f"| {s.name} | {s.loads_accepted} | {s.fails_accepted} | {s.loads_rejected} | {s.fails_rejected} |"
        for s in scores
    ]
    return [head, "| --- | --- | --- | --- | --- |", *rows]


def as_data(found: Report) -> dict[str, Any]:
    """The report for programs."""
    return asdict(found) | {
        "kv_mean_gib": found.kv_mean,
        "kv_worst_gib": found.kv_worst,
        "missed": found.missed(),
    }


def main() -> int:
    """Print the report."""
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m e2e.bench.plan_accuracy", description=__doc__, formatter_class=as_written
    )
    parser.add_argument("--rows", type=Path, required=True, help="rows with what was seen")
    parser.add_argument("--observations", type=Path, help="start-up logs with their parts")
    parser.add_argument("--json", type=Path, help="also write the report as JSON")
    parser.add_argument("--markdown", type=Path, help="also write it to this file")
    args = parser.parse_args()
    try:
        starts = read_starts(args.rows)
        seen = plan_holdout.read_seen(args.observations, starts) if args.observations else []
        left_out = plan_holdout.other_precision(args.observations, starts) if args.observations else []
    except (OSError, ValueError, KeyError) as error:
        parser.error(f"cannot read the rows: {error}")
    found = report(starts, seen, left_out)
    text = markdown(found)
    print(text)
    if args.json:
        args.json.write_text(json.dumps(as_data(found), indent=1) + "\n", encoding="utf-8")
    if args.markdown:
        args.markdown.write_text(text, encoding="utf-8")
    return int(bool(found.missed()))


if __name__ == "__main__":
    sys.exit(main())

"""What the gateway costs a warm request, beside a bare Envoy, vLLM's router and a LiteLLM proxy.

    python -m e2e.bench.gateway [--rounds 6] [--no-peers] [--cluster gateway] [--json FILE]

All subjects run at once before one engine double, and load is put on one after the other, in short turns
whose order is drawn, so that what else the machine does hits all of them. In each round all are started anew:
where a process lies in memory makes it faster or slower by some 5 % for its life. Load generator and engine
share the machine's processors.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from e2e.bench.fleet import say
from e2e.bench.load import Load, put_load
from e2e.bench.pod import access_log_of, our_gateway, show_model, show_replica
from e2e.bench.subjects import (
    MODEL,
    TOKENS,
    WORKERS,
    Subject,
    Workshop,
    bare_envoy,
    engine,
    litellm,
    vllm_router,
)
from e2e.bench.usage import cpu_seconds, rss_mib
from e2e.cluster import ClusterError
from e2e.fleet.plane import Plane

CONNECTIONS: Final = 32
TURNS: Final = 3
"""Under full load in each round."""
TURN_SECONDS: Final = 1.0
PACE: Final = 20
"""Requests a second at which latencies are compared: so few that the slowest subject keeps up."""
PACED_CONNECTIONS: Final = 8
PACED_SECONDS: Final = 10.0
"""Long enough that the slowest of a hundred is not the slowest of all."""
WARMUP_SECONDS: Final = 0.5
"""In which every connection is made: at any pace, each has been used once."""
BASE: Final = "bare Envoy"
DIRECT: Final = "direct"
OURS: Final = "Tertium's gateway"
PROMPT_BYTES: Final = 4096
"""A body as callers send them: half of the prompts in the Azure LLM inference trace of 2023 (conversations)
are longer than 1,020 tokens. The other bodies here have one short question."""
FULL_LOADS: Final[dict[str, dict[str, Any]]] = {
    "whole": {},
    "prompts": {"bodyBytes": PROMPT_BYTES},
    "streams": {"stream": True},
}
KINDS: Final[dict[str, dict[str, Any]]] = {
    **{
        kind: {"connections": CONNECTIONS, "seconds": TURN_SECONDS, **order}
        for kind, order in FULL_LOADS.items()
    },
    "paced": {"connections": PACED_CONNECTIONS, "seconds": PACED_SECONDS, "rate": PACE},
}
ROUND: Final = (*list(FULL_LOADS) * TURNS, "paced")
"""The turns of a round, each of one kind of load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One subject under one kind of load. Processor time by process, warm-up included; memory after it."""

    load: Load
    cpu: dict[str, float]
    rss_mib: dict[str, float]

    @property
    def cpu_micros(self) -> float:
        """Processor time for each request; the warm-up's share of it is taken off by its time."""
        share = self.load.seconds / (self.load.seconds + WARMUP_SECONDS)
        return sum(self.cpu.values()) * share / self.load.requests * 1e6


Seen = dict[str, dict[str, list[Turn]]]
"""Turns by subject and kind of load; those of one place were at about the same time."""


def measure(start: Callable[[Workshop], Sequence[Subject]], rounds: int) -> Seen:
    """Start all subjects for each round and give each its turns. Raises AssertionError if a request fails."""
    chance, seen = random.Random(0), defaultdict[str, dict[str, list[Turn]]](lambda: defaultdict(list))
    for number in range(rounds):
        with contextlib.ExitStack() as stack:
            subjects = start(a_workshop(stack))
            seen.update((subject.name, seen[subject.name]) for subject in subjects)  # in the table's order
            for kind in ROUND:
                for subject in chance.sample(subjects, len(subjects)):
                    seen[subject.name][kind].append(_turn(subject, KINDS[kind]))
        say(f"round {number + 1} of {rounds}")
    return seen


def a_workshop(stack: contextlib.ExitStack) -> Workshop:
    """A workshop in a folder of its own."""
    return Workshop(Path(stack.enter_context(tempfile.TemporaryDirectory())), stack)


def _turn(subject: Subject, order: dict[str, Any]) -> Turn:
    before = {name: cpu_seconds(subject.pids(name)) for name in subject.roots}
    load = put_load([subject.url], [MODEL], **{"warmupSeconds": WARMUP_SECONDS, **order})
    cpu = {name: cpu_seconds(subject.pids(name)) - spent for name, spent in before.items()}
    assert not load.errors, f"{subject.name}: {load.errors}"
    memory = {name: rss_mib(subject.pids(name)) for name in subject.roots}
    return Turn(load=load, cpu=cpu, rss_mib=memory)


def figures(name: str, seen: Seen) -> dict[str, Any]:
    """The row of one subject: medians over the turns, of ratios and differences within a turn."""
    mine, base, direct = seen[name], seen[BASE], seen[DIRECT]
    rates: dict[str, float] = {}
    for kind in FULL_LOADS:
        rates |= _rates(kind, mine[kind], base[kind])
    return {
        "subject": name,
        **rates,
        "first_chunk_p50_ms": round(_median(one.load.first["p50"] for one in mine["streams"]), 2),
        "cpu_micros_per_request": round(_median(one.cpu_micros for one in mine["whole"])),
        **{
            f"added_{quantile}_ms": round(
                _median(
                    a.load.last[quantile] - b.load.last[quantile]
                    for a, b in zip(mine["paced"], direct["paced"], strict=True)
                ),
                2,
            )
            for quantile in ("p50", "p99")
        },
        "rss_mib": {part: round(most) for part, most in mine["paced"][-1].rss_mib.items()},
    }


def _rates(kind: str, mine: Sequence[Turn], base: Sequence[Turn]) -> dict[str, float]:
    ratios = [a.load.rate / b.load.rate for a, b in zip(mine, base, strict=True)]
    lower, middle, upper = statistics.quantiles(ratios, n=4)
    return {
        f"{kind}_per_second": round(_median(one.load.rate for one in mine)),
        f"{kind}_ratio": round(middle, 3),
        f"{kind}_ratio_lower_quartile": round(lower, 3),
        f"{kind}_ratio_upper_quartile": round(upper, 3),
    }


def _median(values: Any) -> float:
    return float(statistics.median(values))


def bystander(seen: Seen) -> dict[str, Any]:
    """What the activator did while its Envoy carried warm requests."""
    rounds = [one for turns in seen[OURS].values() for one in turns]
    return {
        "warm_requests": sum(one.load.requests for one in rounds),
        "seconds": round(sum(one.load.seconds + WARMUP_SECONDS for one in rounds), 1),
        "envoy_cpu_seconds": round(sum(one.cpu["envoy"] for one in rounds), 2),
        "activator_cpu_seconds": round(sum(one.cpu["activator"] for one in rounds), 2),
    }


COLUMNS: Final = {
    "whole_per_second": "requests/s",
    "whole_ratio": "of bare Envoy (quartiles)",
    "prompts_per_second": f"with prompts of {PROMPT_BYTES // 1024} KiB",
    "prompts_ratio": "of bare Envoy (quartiles)",
    "streams_per_second": "SSE streams/s",
    "streams_ratio": "of bare Envoy (quartiles)",
    "added_p50_ms": "added p50 ms",
    "added_p99_ms": "added p99 ms",
    "cpu_micros_per_request": "CPU µs/request",
    "rss_mib": "RSS MiB",
}


def markdown(rows: Sequence[dict[str, Any]], aside: dict[str, Any]) -> str:
    """The table for people."""
    lines = ["| |" + "".join(f" {words} |" for words in COLUMNS.values())]
    lines.append("| --- |" + " ---: |" * len(COLUMNS))
    for row in rows:
        cells = []
        for column in COLUMNS:
            value = row[column]
            if column == "rss_mib":
                value = " + ".join(str(part) for part in value.values())
            elif column.endswith("_ratio"):
                value = f"{value} ({row[f'{column}_lower_quartile']} to {row[f'{column}_upper_quartile']})"
            cells.append(f" {value} |")
        lines.append(f"| {row['subject']} |" + "".join(cells))
    lines += [
        "",
        f"{CONNECTIONS} connections that stay open; answers of {TOKENS} tokens; added times at"
        f" {PACE} requests/s on {PACED_CONNECTIONS}; Envoys with {WORKERS} threads and the same access log.",
        f"Activator: {aside['activator_cpu_seconds']} CPU s in {aside['seconds']} s, in which Envoy carried"
        f" {aside['warm_requests']} warm requests and took {aside['envoy_cpu_seconds']} CPU s.",
    ]
    return "\n".join(lines)


def main() -> int:
    """Run the benchmark on a control plane of its own."""
    parser = argparse.ArgumentParser(prog="python -m e2e.bench.gateway", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=6, help="how often all subjects are started")
    parser.add_argument("--no-peers", action="store_true", help="leave vllm-router and LiteLLM out")
    parser.add_argument(
        "--cluster", default="gateway", help="name of the control plane; it is started afresh"
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        direct = engine(a_workshop(stack))
        plane = Plane.up(args.cluster, nodes=0)
        stack.callback(plane.down)
        show_model(plane)
        show_replica(plane)

        def start(shop: Workshop) -> list[Subject]:
            ours = shop.wait(our_gateway(shop, plane), seconds=60)
            peers = [] if args.no_peers else [vllm_router(shop), litellm(shop)]
            return [direct, bare_envoy(shop, access_log_of(shop)), ours, *peers]

        seen = measure(start, args.rounds)
    rows, aside = [figures(name, seen) for name in seen], bystander(seen)
    print(markdown(rows, aside))
    print(json.dumps({"subjects": rows, "activator": aside}))
    if args.json:
        turns = {
            name: {kind: [asdict(one) for one in all_] for kind, all_ in kinds.items()}
            for name, kinds in seen.items()
        }
        whole = {"subjects": rows, "activator": aside, "turns": turns}
        args.json.write_text(json.dumps(whole, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ClusterError, AssertionError, subprocess.CalledProcessError) as error:
        sys.exit(f"error: {error}")

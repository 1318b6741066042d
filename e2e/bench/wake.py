"""How long a wake from zero takes, and whose time it is.

    python -m e2e.bench.wake [--runs 20] [--cluster bench] [--json FILE]

The engine is the test double that boots at once, so that what is left is Kubernetes and Tertium. All parts
run on one machine, so that the times of their logs and of this program's watches can be compared.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from e2e.bench.watch import Watch
from e2e.doubles import double
from e2e.environment import prepare
from e2e.stack import Sample, Stack, delete_namespace, install, make_namespace
from e2e.waiting import until

NAMESPACE: Final = "bench-wake"
ENGINE: Final = double(DOUBLE_BOOT_SECONDS=0)

# Marks in the order in which they happen; a step lasts from the mark before it.
STEPS: Final = {
    "leased": "request to demand Lease renewed",
    "applied": "Lease to Deployment applied",
    "created": "Deployment to pod created",
    "started": "pod to engine process started",
    "addressed": "engine process to pod address in the API",
    "healthy": "address to seen healthy",
    "answered": "healthy to first byte",
}
# The controller manager's step counts as ours: it is the price of leaving pods to a Deployment.
TERTIUM: Final = ("leased", "applied", "created", "healthy", "answered")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wake:
    """One run: milliseconds by step, and from the request to the first byte."""

    steps: dict[str, float]
    total: float

    @property
    def tertium(self) -> float:
        """Milliseconds that are neither the scheduler's, the kubelet's nor the engine's."""
        return sum(self.steps[name] for name in TERTIUM)


def measure(stack: Stack, sample: Sample, deployments: Watch, pods: Watch) -> Wake:
    """Wake the sleeping sample once and put its time line together from watches and logs."""
    until("no engine pod", lambda: sample.pods(terminating=True) == [], seconds=60)
    sent = datetime.now(UTC)
    with stack.caller.stream(sample.model, max_tokens=1) as pieces:
        next(iter(pieces))
        answered = datetime.now(UTC)
    (pod,) = sample.pods()
    name = pod["metadata"]["name"]
    wake = until("the gateway's record", lambda: _record(stack, sample.model, sent), seconds=10)
    # The first line of the engine's log, with the time at which the container runtime got it.
    boot = stack.cluster.kubectl("-n", sample.namespace, "logs", "--timestamps", name).split(maxsplit=1)[0]
    marks = {
        "leased": parse_time(wake["leaseAt"]),
        "applied": deployments.first("MODIFIED", "1", sent),
        "created": pods.first("ADDED", name, sent),
        "started": parse_time(boot),
        "addressed": max(parse_time(boot), parse_time(wake["podIpAt"])),
        "healthy": parse_time(wake["healthyAt"]),
        "answered": answered,
    }
    steps, before = {}, sent
    for step in STEPS:
        steps[step] = (marks[step] - before).total_seconds() * 1000
        before = marks[step]
    return Wake(steps=steps, total=(answered - sent).total_seconds() * 1000)


def _record(stack: Stack, model: str, since: datetime) -> dict[str, Any] | None:
    for line in stack.logs("gateway", "activator"):
        if line["event"] == "wake" and line["deployment"] == model and parse_time(line["heldAt"]) >= since:
            return line
    return None


def parse_time(text: str) -> datetime:
    """Read RFC 3339, nanoseconds cut to microseconds."""
    seconds, _, fraction = text.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{seconds}.{fraction[:6]:0<6}+00:00")


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed (nearest rank)."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]


def table(wakes: Sequence[Wake]) -> list[dict[str, Any]]:
    """Rows of step, p50, p95 and maximum in milliseconds."""
    series = {text: [wake.steps[name] for wake in wakes] for name, text in STEPS.items()}
    series["**request to first byte**"] = [wake.total for wake in wakes]
    series["**Tertium's own share**"] = [wake.tertium for wake in wakes]
    return [
        {
            "step": text,
            "p50": round(statistics.median(values)),
            "p95": round(quantile(values, 0.95)),
            "max": round(max(values)),
        }
        for text, values in series.items()
    ]


def markdown(rows: Sequence[dict[str, Any]], runs: int) -> str:
    """The table for people."""
    head = [f"| step ({runs} runs) | p50 ms | p95 ms | max ms |", "| --- | --- | --- | --- |"]
    return "\n".join(head + [f"| {r['step']} | {r['p50']} | {r['p95']} | {r['max']} |" for r in rows])


def main() -> int:
    """Run the benchmark on a cluster of its own."""
    parser = argparse.ArgumentParser(prog="python -m e2e.bench.wake", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20, help="wakes to measure after one that is thrown away")
    parser.add_argument("--cluster", default="bench", help="name of the cluster; it is started if need be")
    parser.add_argument("--keep", action="store_true", help="leave the cluster running")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    args = parser.parse_args()
    environment = prepare(args.cluster)
    cluster = environment.cluster
    stack = install(cluster)
    make_namespace(environment, NAMESPACE)
    try:
        sample = stack.apply_sample("smollm2", NAMESPACE, idle_seconds=1, engine=ENGINE)
        sample.wait_condition("Ready", "True", seconds=60)
        deployments = Watch(stack, NAMESPACE, "deployments", "spec.replicas")
        pods = Watch(stack, NAMESPACE, "pods", "metadata.name")
        wakes = []
        for run in range(args.runs + 1):
            wake = measure(stack, sample, deployments, pods)
            sys.stderr.write(f"run {run}: {wake.total:.0f} ms, Tertium {wake.tertium:.0f} ms\n")
            wakes.append(wake)
        deployments.stop()
        pods.stop()
        rows = table(wakes[1:])
    finally:
        delete_namespace(cluster, NAMESPACE)
        if not args.keep:
            cluster.down()
    print(markdown(rows, args.runs))
    print(json.dumps(rows))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error.cmd} failed: {error.stderr or error.stdout}")

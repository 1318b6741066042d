"""What an operator costs, and how fast it is, where thousands of deployments exist.

    python -m e2e.bench.fleet [--sizes 100 1000 5000] [--cluster fleet] [--json FILE]

A real etcd, API server, controller manager and scheduler; kwok's nodes; the operator as a process. Models are
inspected once: the facts of the first deployment are stored for all others before the operator starts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import queue
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from e2e.bench.wake import quantile
from e2e.cluster import ClusterError
from e2e.fleet.api import APPS, Watcher, path_of
from e2e.fleet.audit import Call, tally
from e2e.fleet.crowd import Crowd
from e2e.fleet.gateway import FakeGateway, renew
from e2e.fleet.operator import OperatorProcess
from e2e.fleet.plane import SYSTEM, Plane
from e2e.waiting import until

NAMESPACE: Final = "crowd"
NODES: Final = 32
REACTIONS: Final = 100
# So long that a pod of the wake before has started: its work is not what is measured.
PAUSE_SECONDS: Final = 0.5
CHANGES: Final = 5
MINUTE: Final = 60.0
# Quiet is less than 3 % of a core for two seconds.
QUIET_SECONDS: Final = 2.0
QUIET_SHARE: Final = 0.03

ROWS: Final = {
    "first_cpu": "first start: CPU s until all are Ready and quiet",
    "first_wall": "first start: s",
    "first_cpu_each": "first start: CPU ms for each new deployment",
    "first_peak": "first start: most resident memory, MiB",
    "first_writes": "first start: writes per deployment",
    "restart_cpu": "restart: CPU s until quiet",
    "restart_cpu_each": "restart: CPU ms for each deployment",
    "restart_writes": "restart: writes",
    "rss": "resident memory after the restart, MiB",
    "peak": "most resident memory from there to the last demand, MiB",
    "idle_writes": "writes in an idle minute",
    "idle_lease_writes": "of its own leader Lease in that minute",
    "idle_cpu": "CPU s in an idle minute",
    "status_change_calls": "API calls after a change that touches no pod",
    "pod_change_calls": "API calls after a change of the pod",
    "react_p50": "demand Lease to replicas, p50 ms",
    "react_p95": "demand Lease to replicas, p95 ms",
    "react_p99": "demand Lease to replicas, p99 ms",
    "react_max": "demand Lease to replicas, max ms",
    "awake_cpu": "CPU s in a minute with one replica awake",
}


class Fleet:
    """The benchmark at growing sizes, on one control plane."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._audit = plane.audit()
        self._gateway = FakeGateway(plane.api, SYSTEM, plane.address)
        self._gateway.deploy()
        operator = plane.operator()
        self._crowd = Crowd(plane, NAMESPACE, scaling={"idleSeconds": 1})
        operator.stop()

    def measure(self, size: int) -> dict[str, float]:
        """Grow to `size` deployments and return all figures."""
        say(f"{size} deployments: making them")
        self._crowd.grow(size)
        new = len(self._crowd.unready())
        self._audit.take()
        row = self._first_start(new)
        say(f"restart ({row['first_cpu']} CPU s, {row['first_wall']} s before)")
        operator = self._plane.operator()
        operator.wait_ready()
        wait_quiet(operator)
        row["restart_cpu"] = round(operator.cpu_seconds, 1)
        row["restart_cpu_each"] = round(1000 * operator.cpu_seconds / size, 1)
        row["restart_writes"] = len(_writes(self._audit.take()))
        row["rss"] = round(operator.rss_mib)
        row |= self._idle(operator)
        row |= self._changes()
        row |= self._reactions()
        row["peak"] = round(operator.peak_mib)
        row |= self._awake(operator)
        operator.stop()
        return row

    def close(self) -> None:
        """Stop what is not the control plane's."""
        self._gateway.close()

    def _first_start(self, new: int) -> dict[str, float]:
        begun = time.monotonic()
        operator = self._plane.operator()
        until("all are Ready", lambda: not self._crowd.unready(), seconds=1200, every=2)
        wall = time.monotonic() - begun
        wait_quiet(operator)
        cpu, peak = operator.cpu_seconds, operator.peak_mib
        operator.stop()
        writes = _writes(self._audit.take())
        return {
            "first_cpu": round(cpu, 1),
            "first_wall": round(wall, 1),
            "first_cpu_each": round(1000 * cpu / max(1, new), 1),
            "first_peak": round(peak),
            "first_writes": round(len(writes) / max(1, new), 2),
        }

    def _idle(self, operator: OperatorProcess) -> dict[str, float]:
        say("an idle minute")
        self._audit.take()
        before = operator.cpu_seconds
        time.sleep(MINUTE)
        spent = operator.cpu_seconds - before
        calls = self._audit.take()
        writes = _writes(calls)
        if writes:
            say(f"writes: {tally(writes)}")
        return {
            "idle_writes": len(writes),
            "idle_lease_writes": sum(call.is_write for call in calls) - len(writes),
            "idle_cpu": round(spent, 2),
        }

    def _changes(self) -> dict[str, float]:
        say("changes")
        changes: dict[str, list[dict[str, Any]]] = {
            "status_change_calls": [{"scaling": {"idleSeconds": 2 + i}} for i in range(CHANGES)],
            "pod_change_calls": [
                {"capacity": {"contextTokens": 1024 + 16 * i, "concurrentSequences": 4}}
                for i in range(CHANGES)
            ],
        }
        return {figure: self._calls_of(specs) for figure, specs in changes.items()}

    def _calls_of(self, specs: Sequence[dict[str, Any]]) -> float:
        """Return the median count of calls that one change costs."""
        counts = []
        for spec in specs:
            name = random.choice(self._crowd.names)
            self._audit.take()
            self._crowd.change(name, spec)
            time.sleep(3)
            # Complete lists of all namespaces and renewed watches come by the clock, not by the change.
            calls = [call for call in self._audit.take() if call.namespace == NAMESPACE]
            say(f"{name}: {tally(calls)}")
            counts.append(len(calls))
        return statistics.median(counts)

    def _reactions(self) -> dict[str, float]:
        say("demands")
        scaled: queue.Queue[tuple[str, float]] = queue.Queue()

        def note(moment: float, event: dict[str, Any]) -> None:
            if event["type"] != "DELETED" and event["object"]["spec"]["replicas"] == 1:
                scaled.put((event["object"]["metadata"]["labels"]["tertium.dev/deployment"], moment))

        names = random.sample(self._crowd.names, min(REACTIONS, len(self._crowd.names)))
        times = []
        with Watcher(self._plane.api, path_of(APPS, NAMESPACE, "deployments"), note):
            for name in names:
                sent = time.monotonic()
                renew(self._plane.api, NAMESPACE, name)
                while True:
                    seen, moment = scaled.get(timeout=20)
                    if seen == name:
                        break
                times.append((moment - sent) * 1000)
                time.sleep(PAUSE_SECONDS)
        return {
            "react_p50": round(statistics.median(times)),
            "react_p95": round(quantile(times, 0.95)),
            "react_p99": round(quantile(times, 0.99)),
            "react_max": round(max(times)),
        }

    def _awake(self, operator: OperatorProcess) -> dict[str, float]:
        """Spend a minute with one replica, while the gateway reports on all deployments each second."""
        self._sleep()
        name = self._crowd.names[0]
        self._gateway.report(f"{NAMESPACE}/{name}", in_flight=1)
        renew(self._plane.api, NAMESPACE, name)
        time.sleep(5)
        say("a minute with one replica awake")
        before = operator.cpu_seconds
        time.sleep(MINUTE)
        spent = operator.cpu_seconds - before
        self._sleep()
        # A pod that was started again knows nobody: the load of the next wakes is unknown, and they last.
        self._gateway.restarted()
        return {"awake_cpu": round(spent, 2)}

    def _sleep(self) -> None:
        """Report that no request runs anywhere, and wait until nothing is awake."""
        for name in self._crowd.names:
            self._gateway.report(f"{NAMESPACE}/{name}")

        def probe() -> bool:
            awake = [d for d in self._plane.api.items(path) if d["spec"]["replicas"]]
            assert not awake, f"{len(awake)} still awake"
            return True

        path = path_of(APPS, NAMESPACE, "deployments")
        until("all sleep", probe, seconds=120, every=1)


def wait_quiet(operator: OperatorProcess) -> None:
    """Wait until the operator does next to nothing."""

    def probe() -> bool:
        before = operator.cpu_seconds
        time.sleep(QUIET_SECONDS)
        return operator.cpu_seconds - before < QUIET_SHARE * QUIET_SECONDS

    until("the operator is quiet", probe, seconds=900, every=0)


def say(what: str) -> None:
    """Tell whoever waits."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {what}\n")


def _writes(calls: Sequence[Call]) -> list[Call]:
    """Return the writes that are about deployments; the leader's Lease is renewed by the clock."""
    return [call for call in calls if call.is_write and call.namespace != SYSTEM]


def markdown(rows: dict[int, dict[str, float]]) -> str:
    """The table for people: a column for each size."""
    head = "| deployments |" + "".join(f" {size:,} |" for size in rows)
    lines = [head, "| --- |" + " ---: |" * len(rows)]
    for figure, words in ROWS.items():
        lines.append(f"| {words} |" + "".join(f" {row[figure]:g} |" for row in rows.values()))
    return "\n".join(lines)


def main() -> int:
    """Run the benchmark on a control plane of its own."""
    parser = argparse.ArgumentParser(prog="python -m e2e.bench.fleet", description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000], help="growing counts")
    parser.add_argument("--cluster", default="fleet", help="name of the control plane; it is started afresh")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    plane = Plane.up(args.cluster, nodes=NODES)
    rows: dict[int, dict[str, float]] = {}
    try:
        with contextlib.closing(Fleet(plane)) as fleet:
            for size in sorted(args.sizes):
                rows[size] = fleet.measure(size)
                print(markdown(rows), flush=True)
    finally:
        plane.down()
    text = json.dumps(rows, indent=1)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ClusterError, subprocess.CalledProcessError) as error:
        sys.exit(f"error: {error}")

"""Operators without the seconds that each takes to load: one process has loaded everything, and forks.

    python -m e2e.fleet.nursery ORDERS WORD...

It reads orders from the pipe ORDERS, one JSON object a line: variables, a log, and a file for the process id.
A child runs `tertium WORD...`; it is the whole operator and shares nothing but code with its parent.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from e2e.cluster.local.layout import CONTROL_GROUP
from e2e.cluster.local.processes import Processes
from e2e.waiting import until


class Nursery:
    """The parent, seen from outside; it ends with the cluster."""

    def __init__(
        self, processes: Processes, orders: Path, environment: Mapping[str, str], words: Sequence[str]
    ) -> None:
        self._orders = orders
        orders.unlink(missing_ok=True)
        os.mkfifo(orders)
        # The client library reads KUBECONFIG when it is loaded, so that all children have the same.
        command = ["env", *(f"{name}={value}" for name, value in environment.items())]
        command += [sys.executable, "-m", "e2e.fleet.nursery", str(orders), *words]
        processes.start("nursery", CONTROL_GROUP, command)

    def fork(self, log: Path, environment: Mapping[str, str]) -> int:
        """Have an operator started; return its process id."""
        answer = log.with_suffix(".pid")
        answer.unlink(missing_ok=True)
        order = {"environment": dict(environment), "log": str(log), "answer": str(answer)}
        with self._orders.open("w") as pipe:
            pipe.write(json.dumps(order) + "\n")
        return until("the process id of an operator", lambda: _read(answer), seconds=60, every=0.01)


def _read(answer: Path) -> int | None:
    text = answer.read_text() if answer.exists() else ""
    return int(text) if text.endswith("\n") else None


def serve(orders: Path, words: Sequence[str]) -> None:
    """Fork for ever."""
    program = importlib.import_module("tertium.cli")
    # What this verb loads; nothing of it starts a thread or a loop before it runs.
    importlib.import_module(f"tertium.cli.{words[0]}")
    # Nobody waits for the children.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        with orders.open() as pipe:
            for line in pipe:
                if os.fork() == 0:
                    os._exit(_be_born(json.loads(line), program.main, words))


def _be_born(order: dict[str, Any], main: Any, words: Sequence[str]) -> int:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    output = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ |= order["environment"]
    Path(order["answer"]).write_text(f"{os.getpid()}\n")
    return int(main(list(words)))


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2:])

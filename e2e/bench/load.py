"""The load generator as a function: an order in, a report out. `loadgen/order.go` has the words of both."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from e2e.cluster import binaries
from e2e.cluster.progress import Steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What came of an order; times in milliseconds."""

    requests: int
    errors: Mapping[str, int]
    seconds: float
    first: Mapping[str, float]
    last: Mapping[str, float]
    by_target: Mapping[str, int]

    @property
    def rate(self) -> float:
        """Whole answers a second."""
        return self.requests / self.seconds


def put_load(targets: Sequence[str], models: Sequence[str], **order: Any) -> Load:
    """Put load on `targets` (http://host:port) and wait until it is over.

    Raises CalledProcessError when the order makes no sense, ClusterError when there is no Go to build with.
    """
    program = binaries.build([binaries.LOADGEN], Steps())["loadgen"]
    text = json.dumps({"targets": list(targets), "models": list(models), **order})
    done = subprocess.run([program], input=text, check=True, stdout=subprocess.PIPE, text=True)
    report = json.loads(done.stdout)
    return Load(
        requests=report["requests"],
        errors=report["errors"],
        seconds=report["seconds"],
        first=report["firstMillis"],
        last=report["lastMillis"],
        by_target=report["byTarget"],
    )

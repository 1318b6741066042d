"""How fast Envoy learns of a change at 1,000 deployments, and what that costs.

    python -m e2e.bench.xds [--models 1000] [--awake 100] [--json FILE]

The real Envoy and the real activator of one gateway pod; the API server's watches and the engines are
stand-ins in this process, so that nothing but the gateway is measured. Times are a caller's: from the watch
event to the first answer that shows the change.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from e2e.bench.report import report
from e2e.bench.usage import cpu_seconds, process_of, rss_mib
from tertium.api.meta import ObjectKey
from tertium.kube.cluster import LLM_DEPLOYMENT, POD
from tests.gateway.parts import Engine, a_deployment, a_pod
from tests.gateway.stack import Stack, running_stack

_ENGINES: Final = 4
_SAMPLES: Final = 100
_LIMIT_SECONDS: Final = 60.0


async def measure(models: int, awake: int) -> dict[str, Any]:
    """Return the figures by name; times in milliseconds."""
    figures: dict[str, Any] = {"models": models, "awake": awake}
    with tempfile.TemporaryDirectory() as directory:
        async with running_stack(Path(directory)) as stack:
            for _ in range(_ENGINES):
                await stack.start_engine()
            envoy = process_of("envoy", directory)
            keys = [ObjectKey("team", f"model-{number}") for number in range(models)]
            figures |= _costs(envoy, "idle")
            figures["all routable"] = await _all_added(stack, keys)
            figures |= _costs(envoy, "full")
            await _wake_all(stack, keys[:awake])
            figures |= _spread("replica published to answered", await _moves(stack, keys[:awake]))
            figures |= _spread("held to answered", await _wakes(stack, keys[awake : 2 * awake]))
            figures |= _spread("created to routable", await _additions(stack))
            figures |= _costs(envoy, "end")
    return figures


async def _all_added(stack: Stack, keys: Sequence[ObjectKey]) -> float:
    begun = time.perf_counter()
    for key in keys:
        stack.cluster.put(LLM_DEPLOYMENT, a_deployment(key.name))
    last = a_deployment("last", replicas=0)
    stack.cluster.put(LLM_DEPLOYMENT, last)
    await _routable(stack, "last")
    return (time.perf_counter() - begun) * 1e3


async def _routable(stack: Stack, name: str) -> None:
    async with asyncio.timeout(_LIMIT_SECONDS):
        while True:
            reply = await stack.ask(name)
            if "PinnedToZero" in reply.text:
                return
            await asyncio.sleep(0.001)


async def _wake_all(stack: Stack, keys: Sequence[ObjectKey]) -> None:
    for key in keys:
        stack.cluster.put(POD, a_pod(key, name=f"{key.name}-0", ip=stack.engines[0].ip, ready=True))
    for key in keys:
        assert (await stack.ask(str(key))).status == 200, key


async def _moves(stack: Stack, keys: Sequence[ObjectKey]) -> list[float]:
    """One replica goes and another comes: until a request is answered by the new one."""
    times = []
    for number in range(_SAMPLES):
        key, engine = keys[number % len(keys)], stack.engines[1 + number % (_ENGINES - 1)]
        begun = time.perf_counter()
        stack.cluster.put(
            POD, a_pod(key, name=f"{key.name}-0", ip=engine.ip, ready=True, ready_since=str(number))
        )
        await _answered_by(stack, key, engine)
        times.append(time.perf_counter() - begun)
        await asyncio.sleep(0.02)
    return times


async def _answered_by(stack: Stack, key: ObjectKey, engine: Engine) -> None:
    async with asyncio.timeout(_LIMIT_SECONDS):
        while (await stack.ask(str(key))).json.get("by") != engine.ip:  # noqa: ASYNC110 - asks Envoy
            await asyncio.sleep(0.001)


async def _wakes(stack: Stack, keys: Sequence[ObjectKey]) -> list[float]:
    """A held request, and then a ready replica: until the request is answered."""
    times = []
    for number in range(_SAMPLES):
        key = keys[number % len(keys)]
        asked = asyncio.create_task(stack.ask(str(key)))
        await stack.until_held(key, 1)
        begun = time.perf_counter()
        stack.cluster.put(POD, a_pod(key, name=f"{key.name}-0", ip=stack.engines[0].ip, ready=True))
        assert (await asked).status == 200
        times.append(time.perf_counter() - begun)
        stack.cluster.remove(POD, ObjectKey(key.namespace, f"{key.name}-0"))
        await asyncio.sleep(0.02)
    return times


async def _additions(stack: Stack) -> list[float]:
    times = []
    for number in range(_SAMPLES // 4):
        name = f"new-{number}"
        begun = time.perf_counter()
        stack.cluster.put(LLM_DEPLOYMENT, a_deployment(name, replicas=0))
        await _routable(stack, name)
        times.append(time.perf_counter() - begun)
    return times


def _spread(name: str, seconds: Sequence[float]) -> dict[str, float]:
    ranked = sorted(seconds)
    return {
        f"{name}, p50": statistics.median(ranked) * 1e3,
        f"{name}, p99": ranked[min(len(ranked) - 1, int(len(ranked) * 0.99))] * 1e3,
    }


def _costs(envoy: int, when: str) -> dict[str, float]:
    """CPU seconds used so far and memory in MiB, of Envoy and of this process (activator and stand-ins)."""
    figures: dict[str, float] = {}
    for who, pid in (("Envoy", envoy), ("activator and driver", os.getpid())):
        figures[f"{who}, CPU s, {when}"] = cpu_seconds([pid])
        figures[f"{who}, RSS MiB, {when}"] = rss_mib([pid])
    return figures


def main(arguments: Sequence[str]) -> int:
    """Measure; print JSON, then Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--awake", type=int, default=100)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args(arguments)
    figures = asyncio.run(measure(options.models, options.awake))
    report(figures, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

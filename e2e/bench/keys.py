"""What API keys cost Envoy, and how soon a deleted one is refused.

    python -m e2e.bench.keys [--requests 5000] [--json FILE]

The real Envoy and the real activator of one gateway pod. CPU is Envoy's own, all threads, a warm request;
callers and engine are in this process and do not count. Times are from the watch event to the first 401.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from e2e.bench.report import report
from e2e.bench.usage import cpu_seconds, process_of, rss_mib
from tertium.api.meta import ObjectKey
from tertium.kube.cluster import API_KEY
from tests.gateway.stack import Stack, running_stack, until

_CALLERS: Final = 16
_DELETIONS: Final = 20
_ROUNDS: Final = 8
_SECRET: Final = "sk-tertium-0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
_LIMITS: Final = {"requestsPerMinute": 1_000_000, "maxConcurrentRequests": 64}


def a_key(name: str, secret: str, **spec: Any) -> dict[str, Any]:
    """A key as the API server shows it."""
    digest = hashlib.sha256(secret.encode()).hexdigest()
    metadata = {"name": name, "namespace": "team", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"metadata": metadata, "spec": {"keySHA256": digest, **spec}}


async def measure(requests: int) -> dict[str, float]:
    """Return the figures by name."""
    with tempfile.TemporaryDirectory() as open_to_all, tempfile.TemporaryDirectory() as locked:
        async with (
            running_stack(Path(open_to_all)) as without,
            running_stack(Path(locked), api_keys=True) as stack,
        ):
            sides = [
                Side(without, process_of("envoy", open_to_all), await _awake(without)),
                Side(stack, process_of("envoy", locked), await _awake(stack)),
            ]
            figures = {"Envoy RSS MiB, no keys": rss_mib([sides[0].envoy])}
            await _put(stack, [a_key("one", _SECRET)])
            figures |= await _compare(sides, requests, "a key")
            await _put(stack, [a_key("one", _SECRET, **_LIMITS)])
            figures |= await _compare(sides, requests, "a key with both limits")
            for count in (1_000, 10_000):
                await _put(stack, [a_key(f"k{number}", f"s{number}", **_LIMITS) for number in range(count)])
                figures |= await _compare(sides, requests, f"one of {count} keys")
                times = [await _deletion(stack) for _ in range(_DELETIONS)]
                figures[f"deleted to refused ms, {count} keys, p50"] = statistics.median(times) * 1e3
                figures[f"deleted to refused ms, {count} keys, most"] = max(times) * 1e3
                figures[f"Envoy RSS MiB, {count} keys"] = rss_mib([sides[1].envoy])
    return figures


@dataclass(frozen=True, slots=True)
class Side:
    """One gateway pod, its Envoy's process, and a model that serves."""

    stack: Stack
    envoy: int
    model: ObjectKey


async def _compare(sides: Sequence[Side], requests: int, what: str) -> dict[str, float]:
    """CPU of a request without and with keys, in turns: the least of each; what else runs adds to it."""
    rounds = [[await _cpu(side, requests) for side in sides] for _ in range(_ROUNDS)]
    without, with_keys = (min(costs) for costs in zip(*rounds, strict=True))
    return {f"CPU µs, {what}": with_keys, f"CPU µs, beside it without keys ({what})": without}


async def _awake(stack: Stack) -> ObjectKey:
    model, engine = await stack.deploy(), await stack.start_engine()
    await stack.add_replica(model, engine)
    return model


async def _put(stack: Stack, keys: Sequence[dict[str, Any]]) -> None:
    for key in keys:
        stack.cluster.put(API_KEY, key)
    book = stack.gateway.keys
    assert book is not None
    await asyncio.sleep(0.1)
    await until(lambda: not book.publishing, limit_seconds=60)
    await until(lambda: stack.gateway.publisher.settled, limit_seconds=60)


async def _cpu(side: Side, requests: int) -> float:
    begun = cpu_seconds([side.envoy])
    await _ask(side.stack, side.model, requests)
    return (cpu_seconds([side.envoy]) - begun) / requests * 1e6


async def _ask(stack: Stack, model: ObjectKey, requests: int) -> None:
    body = json.dumps({"model": str(model), "messages": [{"role": "user", "content": "x" * 1000}]})
    headers = {"Authorization": f"Bearer {_SECRET}", "Content-Type": "application/json"}
    url = f"{stack.url}/v1/chat/completions"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=_CALLERS)) as session:

        async def caller(count: int) -> None:
            for _ in range(count):
                async with session.post(url, data=body, headers=headers) as answer:
                    assert answer.status == 200, await answer.text()
                    await answer.read()

        await asyncio.gather(*(caller(requests // _CALLERS) for _ in range(_CALLERS)))


async def _deletion(stack: Stack) -> float:
    await _put(stack, [a_key("leaver", "a-secret-that-is-going-to-leave", **_LIMITS)])
    headers = {"x-api-key": "a-secret-that-is-going-to-leave"}
    assert (await stack.send("", method="GET", path="/v1/models", headers=headers)).status == 200
    await asyncio.sleep(0.3)
    stack.cluster.remove(API_KEY, ObjectKey("team", "leaver"))
    begun = time.perf_counter()
    while (await stack.send("", method="GET", path="/v1/models", headers=headers)).status != 401:
        pass
    return time.perf_counter() - begun


def main(arguments: Sequence[str]) -> int:
    """Measure; print JSON, then Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args(arguments)
    figures = asyncio.run(measure(options.requests))
    report(figures, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

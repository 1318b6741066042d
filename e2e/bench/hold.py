"""What a held request costs: resident memory of Envoy and of the activator while a thousand wait.

    python -m e2e.bench.hold [--held 1000] [--json FILE]

The real Envoy and the real activator as two processes, on a cluster with one sleeping deployment that answers
nothing else: who is held stays held. Every row starts both anew.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, cast

import aiohttp

from e2e.bench.usage import rss_mib
from e2e.cluster import envoy_filter
from tertium.api.meta import Manifest, ObjectKey
from tertium.gateway.app import run_gateway
from tertium.gateway.settings import GatewaySettings
from tertium.kube.cluster import LLM_DEPLOYMENT, Cluster, Kind, WatchEvent
from tests.gateway.stack import free_ports

KIB: Final = 1024
PORTS: Final = ("LISTEN", "ADMIN", "ACTIVATOR", "RESUME", "HEALTH", "REPORT")
ROWS: Final = (
    ("1 KiB", KIB, False),
    ("1 KiB, streams kept alive", KIB, True),
    ("64 KiB", 64 * KIB, False),
    ("1 MiB", KIB * KIB, False),
    ("1 MiB, streams kept alive", KIB * KIB, True),
)
_MEBIBYTES: Final = "16384"


class Asleep:
    """A cluster with one deployment that sleeps; its starts took two minutes."""

    async def watch(self, kind: Kind, *, labels: str = "") -> AsyncIterator[WatchEvent]:
        """List it, and then nothing changes."""
        if kind == LLM_DEPLOYMENT:
            recent = [{"pod": "p", "readyAt": "2026-01-01T00:00:00Z", "totalMillis": 120_000}]
            yield WatchEvent(
                "LISTED",
                {
                    "metadata": {"name": "m", "namespace": "bench", "generation": 1},
                    "spec": {
                        "model": {"source": "pvc://models/m"},
                        "coldStart": {"holdSeconds": 3600, "maxPending": 100_000},
                    },
                    "status": {"coldStart": {"recent": recent}},
                },
            )
        yield WatchEvent("SYNCED", None)
        await asyncio.Event().wait()

    async def renew_lease(self, key: ObjectKey, claims: Mapping[str, str | None]) -> Manifest:
        """Take any claim."""
        return {"metadata": {"name": key.name, "namespace": key.namespace}}


async def measure(held: int, size: int, *, stream: bool) -> dict[str, float]:
    """Hold so many requests with bodies of `size` bytes; return MiB and seconds."""
    with tempfile.TemporaryDirectory() as directory:
        ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        environment = {
            **os.environ,
            "TERTIUM_ENVOY_DIR": directory,
            "TERTIUM_FILTER_FILE": str(envoy_filter.build()),
            "TERTIUM_MAX_PENDING": "100000",
            "TERTIUM_MAX_PENDING_MEBIBYTES": _MEBIBYTES,
            "TERTIUM_LOG_LEVEL": "WARNING",
            **{f"TERTIUM_{name}_PORT": str(port) for name, port in ports.items()},
        }
        bootstrap = str(Path(directory) / "bootstrap.json")
        envoy = [str(Path(sys.executable).with_name("envoy")), "--config-path", bootstrap]
        envoy += ["--disable-hot-restart", "--concurrency", "2", "--log-level", "error"]
        activator = [sys.executable, "-m", "e2e.bench.hold", "--serve"]
        async with AsyncExitStack() as stack:
            prepare = [sys.executable, "-m", "tertium", "gateway", "prepare"]
            assert await (await asyncio.create_subprocess_exec(*prepare, env=environment)).wait() == 0
            pids = [
                await stack.enter_async_context(_running(command, environment))
                for command in (envoy, activator)
            ]
            session = await stack.enter_async_context(
                aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True))
            )
            report = f"http://127.0.0.1:{ports['REPORT']}"
            await _until(session, f"{report}/readyz", "^ok")
            before = [rss_mib([pid]) for pid in pids]
            fields = {"model": "m", **({"stream": True} if stream else {})}
            body = json.dumps({**fields, "pad": "x" * (size - len(json.dumps(fields)) - 10)}).encode()
            begun = time.monotonic()
            url = f"http://127.0.0.1:{ports['LISTEN']}/v1/chat/completions"
            callers = [asyncio.create_task(_ask(session, url, body)) for _ in range(held)]
            await _until(session, f"{report}/metrics", rf"(?m)^tertium_held_requests {held}\.0$")
            taken = time.monotonic() - begun
            if stream:
                await _until(session, f"{report}/metrics", r"(?m)^tertium_streams_opened_early_total [1-9]")
            await asyncio.sleep(3)
            after = [rss_mib([pid]) for pid in pids]
            for caller in callers:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)
    return {
        "envoy_before": before[0],
        "envoy_held": after[0],
        "envoy_each_kib": (after[0] - before[0]) * KIB / held,
        "activator_before": before[1],
        "activator_held": after[1],
        "activator_each_kib": (after[1] - before[1]) * KIB / held,
        "seconds_to_hold": taken,
    }


async def _ask(session: aiohttp.ClientSession, url: str, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    async with session.post(url, data=body, headers=headers) as answer:
        await answer.read()


async def _until(session: aiohttp.ClientSession, url: str, pattern: str) -> None:
    async with asyncio.timeout(120):
        while True:
            try:
                async with session.get(url) as answer:
                    if re.search(pattern, await answer.text()):
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)


@asynccontextmanager
async def _running(command: Sequence[str], environment: Mapping[str, str]) -> AsyncIterator[int]:
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        yield process.pid
    finally:
        process.kill()
        await process.wait()


def _table(found: Mapping[str, Mapping[str, float]]) -> str:
    head = (
        "| body | Envoy before → held, MiB | Envoy per request, KiB | activator before → held, MiB "
        "| activator per request, KiB | s until all were held |\n| --- | --- | --- | --- | --- | --- |"
    )
    rows = [
        f"| {name} | {row['envoy_before']:.0f} → {row['envoy_held']:.0f} | {row['envoy_each_kib']:.0f} "
        f"| {row['activator_before']:.0f} → {row['activator_held']:.0f} | {row['activator_each_kib']:.0f} "
        f"| {row['seconds_to_hold']:.1f} |"
        for name, row in found.items()
    ]
    return "\n".join([head, *rows])


def main() -> None:
    """Measure every row and print the table; `--serve` is the activator itself."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--held", type=int, default=1000, help="requests held at the same time")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        asyncio.run(run_gateway(GatewaySettings(), cast(Cluster, Asleep()), asyncio.Event()))
        return
    found: dict[str, Any] = {}
    for name, size, stream in ROWS:
        print(f"{args.held} requests of {name}", file=sys.stderr)
        found[name] = asyncio.run(measure(args.held, size, stream=stream))
        print(json.dumps({name: found[name]}), file=sys.stderr)
    print(_table(found))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

"""The operator's probes."""

from __future__ import annotations

import socket

import aiohttp
import pytest

from tertium.api.meta import ObjectKey
from tertium.runtime.health import STUCK_SECONDS, serve_health
from tertium.runtime.queue import WorkQueue


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


async def get(port: int, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.status, await answer.text()


async def test_it_is_alive_while_work_is_finished_and_ready_once_it_watches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queue, port = WorkQueue[ObjectKey](), free_port()
    ready: list[bool] = []
    async with serve_health(queue, port=port, ready=lambda: bool(ready)):
        assert await get(port, "/livez") == (200, "ok\n")
        assert await get(port, "/readyz") == (503, "the first lists are being read\n")
        ready.append(True)
        assert await get(port, "/readyz") == (200, "ok\n")
        monkeypatch.setattr(queue, "stuck_for", lambda: STUCK_SECONDS + 5)
        assert await get(port, "/livez") == (503, "no reconcile has finished for 65 s\n")

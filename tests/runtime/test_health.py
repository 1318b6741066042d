"""The operator's probes and its metrics, over HTTP."""

from __future__ import annotations

import socket

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Gauge

from tertium.core.errors import Terminal
from tertium.runtime.health import Signs, serve_health


class Body:
    """The signs of an operator that is well, until a test says otherwise."""

    def __init__(self) -> None:
        self.stuck = 0.0
        self.longest = 40.0
        self.ages = {"pods": 60.0, "leases": 3.0}
        self.silence = 2.0
        self.ready = False

    @property
    def signs(self) -> Signs:
        return Signs(
            stuck_for=lambda: self.stuck,
            longest=lambda: self.longest,
            watch_ages=lambda: self.ages,
            api_silence=lambda: self.silence,
            ready=lambda: self.ready,
        )


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        pytest.param({}, "", id="all is well"),
        pytest.param({"stuck": 60.0}, "", id="a reconcile may take as long as the API server may"),
        pytest.param({"stuck": 65.0}, "no reconcile has finished for 65 s", id="the loop is stuck"),
        pytest.param({"longest": 600.0}, "", id="a reconcile of many calls to a slow API server"),
        pytest.param(
            {"longest": 601.0}, "a reconcile has not ended for 601 s", id="one hangs while the others go on"
        ),
        pytest.param(
            {"ages": {"pods": 181.0, "leases": 3.0}},
            "the watch of pods has brought nothing for 181 s",
            id="a watch is dead though the API server answers",
        ),
        pytest.param(
            {"ages": {"pods": 999.0, "leases": 999.0}, "silence": 31.0},
            "",
            id="the API server is down: a restart would help nobody",
        ),
        pytest.param({"ready": False, "ages": {"pods": 179.0}}, "", id="a watch is made anew by itself"),
    ],
)
def test_only_what_a_restart_can_help_is_a_complaint(change: dict[str, object], complaint: str) -> None:
    body = Body()
    for name, value in change.items():
        setattr(body, name, value)
    assert body.signs.complaint() == complaint


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


async def get(port: int, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.status, await answer.text()


async def test_they_are_asked_anew_for_every_probe() -> None:
    body, port, registry = Body(), free_port(), CollectorRegistry()
    Gauge("tertium_leader", "Leads.", registry=registry).set(1)
    async with serve_health(body.signs, registry, port=port):
        assert await get(port, "/livez") == (200, "ok\n")
        assert await get(port, "/readyz") == (503, "the first lists are being read\n")
        body.ready, body.stuck = True, 65.0
        assert await get(port, "/readyz") == (200, "ok\n")
        assert await get(port, "/livez") == (503, "no reconcile has finished for 65 s\n")
        status, text = await get(port, "/metrics")
        assert (status, text.splitlines()[-1]) == (200, "tertium_leader 1.0")


async def test_a_port_that_is_taken_is_named() -> None:
    body, port = Body(), free_port()
    async with serve_health(body.signs, CollectorRegistry(), port=port):
        with pytest.raises(Terminal, match=r"TERTIUM_HEALTH_PORT: .*address already in use; give another"):
            async with serve_health(body.signs, CollectorRegistry(), port=port):
                raise AssertionError("two servers on one port")

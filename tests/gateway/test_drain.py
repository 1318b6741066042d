"""Stopping a pod: the rules on a clock that jumps, and once against the real Envoy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Container
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest

from e2e.cluster import envoy_filter
from tertium.core.errors import Retryable
from tertium.gateway.app import run_gateway
from tertium.gateway.drain import drain_envoy, outlast_envoy
from tertium.gateway.envoy_admin import EnvoyAdmin, EnvoyEnded
from tertium.gateway.prepare import prepare
from tertium.gateway.settings import GatewaySettings
from tertium.kube.cluster import LLM_DEPLOYMENT, Cluster
from tests.gateway.parts import WatchedCluster, a_deployment
from tests.gateway.stack import free_ports, running_envoy, running_stack, until


class Admin:
    """An Envoy that does as told from a given second on."""

    def __init__(
        self,
        *,
        idle_at: float = 0,
        draining_at: float = 0,
        gone_at: float = 1000,
        busy: Container[float] = (),
    ) -> None:
        self._idle_at = idle_at
        self._draining_at = draining_at
        self._gone_at = gone_at
        self._busy = busy
        self.drained = False

    async def drain(self) -> None:
        self.drained = True

    async def running(self) -> int:
        return 0 if _now() >= self._idle_at else 3

    async def draining(self) -> bool:
        if _now() >= self._gone_at:
            raise EnvoyEnded("gone")
        if _now() in self._busy:
            raise Retryable("no answer in time")
        return _now() >= self._draining_at


def _now() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("idle_at", "left", "ends_at"),
    [
        pytest.param(0, 0, 7.5, id="idle: until the Service has forgotten the pod and its counters are read"),
        pytest.param(20, 0, 22.5, id="busy: until the last request has ended and was counted"),
        pytest.param(59, 0, 60, id="never beyond the limit"),
        pytest.param(900, 3, 60, id="busy at the limit: gives up and says how many"),
    ],
)
async def test_drain_envoy(idle_at: float, left: int, ends_at: float) -> None:
    admin = Admin(idle_at=idle_at)
    assert await drain_envoy(cast(EnvoyAdmin, admin), limit_seconds=60) == left
    assert (admin.drained, round(_now(), 1)) == (True, ends_at)


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("draining_at", "gone_at", "ends_at"),
    [
        pytest.param(0, 0, 0, id="no Envoy: at once"),
        pytest.param(1, 30, 30, id="a draining Envoy is outlasted"),
        pytest.param(1, 900, 60, id="but not beyond the limit"),
        pytest.param(25, 50, 50, id="an Envoy that is told of the stop late is outlasted too"),
        pytest.param(900, 900, 30, id="an Envoy that is not stopping at all: only we are restarted"),
    ],
)
async def test_outlast_envoy(draining_at: float, gone_at: float, ends_at: float) -> None:
    admin = Admin(draining_at=draining_at, gone_at=gone_at)
    await outlast_envoy(cast(EnvoyAdmin, admin), limit_seconds=60)
    assert round(_now()) == ends_at


@pytest.mark.looptime
async def test_an_envoy_too_busy_to_answer_has_not_ended() -> None:
    admin = Admin(draining_at=1, gone_at=20, busy=(0.0, 0.25, 5.0))
    await outlast_envoy(cast(EnvoyAdmin, admin), limit_seconds=60)
    assert round(_now()) == 20


async def test_a_draining_pod_leaves_its_service_and_finishes_its_stream(tmp_path: Path) -> None:
    async with running_stack(tmp_path) as stack:
        key = await stack.deploy()
        engine = await stack.start_engine()
        await stack.add_replica(key, engine)
        asked = asyncio.create_task(stack.ask(key.name, stream=True))
        await until(lambda: engine.requests)
        draining = asyncio.create_task(
            drain_envoy(stack.gateway.admin, limit_seconds=10, forgotten_seconds=0.1)
        )
        async with asyncio.timeout(5):
            while not await stack.gateway.admin.draining():  # noqa: ASYNC110 - Envoy sends no event
                await asyncio.sleep(0.01)
        assert await stack.health() == 503
        assert not draining.done()
        engine.go_on.set()
        assert (await asked).text.endswith("data: [DONE]\n\n")
        assert await draining == 0


async def test_an_envoy_without_its_activator_says_so_in_openais_shape(tmp_path: Path) -> None:
    async with running_stack(tmp_path) as stack:
        await stack.stop_activator()
        reply = await stack.send("", method="GET", path="/v1/models")
    assert (reply.status, reply.headers["retry-after"]) == (503, "2")
    assert (reply.error["type"], reply.error["code"]) == ("server_error", "upstream_unavailable")
    assert reply.error["message"].startswith(
        "The model could not be reached just now: upstream connect error"
    )


async def test_what_is_held_at_the_end_of_a_drain_is_told_so_before_envoy_ends(tmp_path: Path) -> None:
    listen, admin_port, activator, resume, health, report = free_ports(6)
    settings = GatewaySettings(
        envoy_dir=tmp_path,
        filter_file=envoy_filter.build(),
        listen_port=listen,
        admin_port=admin_port,
        activator_port=activator,
        resume_port=resume,
        health_port=health,
        report_port=report,
        drain_seconds=6,
    )
    prepare(settings.layout, "test")
    cluster, stop = WatchedCluster(), asyncio.Event()
    cluster.put(LLM_DEPLOYMENT, a_deployment("m", starts=(120,)))
    plain, stream = {"model": "m"}, {"model": "m", "stream": True}
    async with aiohttp.ClientSession() as session:

        async def get(path: str) -> str:
            with suppress(aiohttp.ClientError):
                async with session.get(f"http://127.0.0.1:{report}{path}") as answer:
                    return await answer.text()
            return ""

        async def ask(body: dict[str, Any]) -> tuple[int, str]:
            url = f"http://127.0.0.1:{listen}/v1/chat/completions"
            async with session.post(url, json=body) as answer:
                return answer.status, await answer.text()

        async with running_envoy(tmp_path):
            gateway = asyncio.create_task(run_gateway(settings, cast(Cluster, cluster), stop))
            async with asyncio.timeout(20):
                while await get("/readyz") != "ok\n":  # noqa: ASYNC110 - asked over HTTP
                    await asyncio.sleep(0.02)
            held = [asyncio.create_task(ask(body)) for body in (plain, stream)]
            async with asyncio.timeout(5):
                opened_one = "tertium_streams_opened_early_total 1.0"
                while opened_one not in await get("/metrics"):  # noqa: ASYNC110 - asked over HTTP
                    await asyncio.sleep(0.02)
            stop.set()
            admin = EnvoyAdmin(session, admin_port)
            assert await drain_envoy(admin, limit_seconds=6, forgotten_seconds=0.1) == 0
            words = "The gateway's replica that held this request is being replaced. Try again."
            (status, text), (opened, events) = await asyncio.gather(*held)
            assert (status, json.loads(text)["error"]["message"]) == (503, words)
            assert opened == 200
            assert f'"message": "{words}"' in events
            assert events.endswith("data: [DONE]\n\n")
        await gateway

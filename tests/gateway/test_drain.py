"""Stopping a pod: the rules on a clock that jumps, and once against the real Envoy."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pytest

from tertium.core.errors import Retryable
from tertium.gateway.drain import drain_envoy, outlast_envoy
from tertium.gateway.envoy_admin import EnvoyAdmin
from tests.gateway.stack import running_stack, until


class Admin:
    """An Envoy that does as told from a given second on."""

    def __init__(self, *, idle_at: float = 0, draining_at: float = 0, gone_at: float = 1000) -> None:
        self._idle_at = idle_at
        self._draining_at = draining_at
        self._gone_at = gone_at
        self.drained = False

    async def drain(self) -> None:
        self.drained = True

    async def running(self) -> int:
        return 0 if _now() >= self._idle_at else 3

    async def draining(self) -> bool:
        if _now() >= self._gone_at:
            raise Retryable("gone")
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
        pytest.param(900, 900, 10, id="an Envoy that is not stopping at all: only we are restarted"),
    ],
)
async def test_outlast_envoy(draining_at: float, gone_at: float, ends_at: float) -> None:
    admin = Admin(draining_at=draining_at, gone_at=gone_at)
    await outlast_envoy(cast(EnvoyAdmin, admin), limit_seconds=60)
    assert round(_now()) == ends_at


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
        assert (await stack.send("", method="GET", path="/healthz")).status == 503
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

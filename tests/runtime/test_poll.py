"""Load reports from gateway pods that are really asked over HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tertium.api.meta import ObjectKey
from tertium.core.errors import Retryable
from tertium.core.load import Load, load_of
from tertium.runtime import poll
from tertium.runtime.poll import LoadPoller, over_pod_network
from tertium.runtime.store import Store
from tests.factories import KEY, NOW, POLICY, FixedClock, a_manifest, at, seconds
from tests.fakes.cluster import FakeCluster

GATEWAY = ObjectKey("system", "tertium-gateway")
LABELS = {"app.kubernetes.io/component": "gateway"}


class Gateway:
    """One gateway Deployment of one pod that answers on loopback."""

    def __init__(self) -> None:
        self.body: str = "{}"
        self.cluster = FakeCluster()
        self.store = Store()
        self.clock = FixedClock()
        self.changed: list[ObjectKey] = []
        self.store.put(a_manifest())
        self.running(1)
        self.deployment(1)
        self.pod("gateway-1")

    def running(self, replicas: int) -> None:
        metadata = {
            "name": "qwen-engine",
            "namespace": "team-a",
            "uid": "d",
            "labels": {"tertium.dev/deployment": "qwen"},
        }
        self.store.put({"kind": "Deployment", "metadata": metadata, "spec": {"replicas": replicas}})

    def deployment(self, replicas: int) -> None:
        metadata = {"name": GATEWAY.name, "namespace": GATEWAY.namespace}
        spec = {"replicas": replicas, "selector": {"matchLabels": LABELS}}
        self.cluster.put({"kind": "Deployment", "metadata": metadata, "spec": spec})

    def pod(self, name: str, address: str = "127.0.0.1", **metadata: Any) -> None:
        head = {"name": name, "namespace": GATEWAY.namespace, "labels": LABELS, **metadata}
        status = {"phase": "Running", "podIP": address}
        self.cluster.put({"kind": "Pod", "metadata": head, "status": status})

    def reports(self, in_flight: int) -> None:
        load = {"inFlight": in_flight, "held": 0, "lastFinished": at(-7)}
        self.body = json.dumps({"since": at(-100), "models": {str(KEY): load}})

    async def answer(self, _: web.Request) -> web.Response:
        return web.Response(text=self.body, content_type="application/json")

    @property
    def load(self) -> Load | None:
        return load_of(KEY, self.store.reports, self.clock.now(), fresh_seconds=5)


@pytest.fixture
async def asked(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Gateway, LoadPoller]]:
    gateway = Gateway()
    application = web.Application()
    application.router.add_get("/load", gateway.answer)
    async with TestServer(application) as server, aiohttp.ClientSession() as http:
        monkeypatch.setattr(poll, "REPORT_PORT", server.port)
        yield (
            gateway,
            LoadPoller(
                gateway.cluster,
                gateway.store,
                POLICY,
                gateway.clock,
                over_pod_network(http),
                gateway=GATEWAY,
                changed=gateway.changed.append,
            ),
        )


async def test_a_report_becomes_the_load_and_a_change_is_announced_once(
    asked: tuple[Gateway, LoadPoller],
) -> None:
    gateway, poller = asked
    gateway.reports(2)
    await poller.round()
    await poller.round()
    assert gateway.load == Load(in_flight=2, quiet_since=NOW - seconds(7))
    gateway.reports(0)
    await poller.round()
    assert gateway.changed == [KEY, KEY]


async def test_nobody_is_asked_while_nothing_runs(asked: tuple[Gateway, LoadPoller]) -> None:
    gateway, poller = asked
    gateway.reports(2)
    await poller.round()
    gateway.running(0)
    await poller.round()
    assert gateway.store.reports is None


@pytest.mark.parametrize("body", ["not json", "{}", '{"since": 5}'])
async def test_an_answer_that_is_no_report_makes_the_load_unknown(
    asked: tuple[Gateway, LoadPoller], body: str
) -> None:
    gateway, poller = asked
    gateway.body = body
    await poller.round()
    assert gateway.load is None


async def test_a_pod_that_is_missing_makes_the_load_unknown(asked: tuple[Gateway, LoadPoller]) -> None:
    gateway, poller = asked
    gateway.reports(2)
    gateway.deployment(2)
    await poller.round()
    assert gateway.load is None


async def test_a_pod_that_does_not_answer_makes_the_load_unknown(asked: tuple[Gateway, LoadPoller]) -> None:
    gateway, poller = asked
    gateway.reports(2)
    gateway.pod("gateway-2", address="::1")
    await poller.round()
    assert gateway.load is None


async def test_a_terminating_pod_need_not_answer(asked: tuple[Gateway, LoadPoller]) -> None:
    gateway, poller = asked
    gateway.reports(2)
    gateway.pod("gateway-0", address="::1", deletionTimestamp=at(-1))
    await poller.round()
    assert gateway.load == Load(in_flight=2, quiet_since=NOW - seconds(7))


async def test_no_gateway_is_said(asked: tuple[Gateway, LoadPoller]) -> None:
    gateway, poller = asked
    gateway.cluster.objects.clear()
    with pytest.raises(Retryable) as fault:
        await poller.round()
    assert str(fault.value) == "there is no gateway Deployment system/tertium-gateway; nothing is scaled down"

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
from tertium.core.load import LOST_SECONDS, Load, load_of
from tertium.core.tokens import WRITE_SECONDS
from tertium.kube.cluster import POD
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

    def reports(self, in_flight: int, *, requests: int = 0, epoch: str = "one") -> None:
        load = {"inFlight": in_flight, "held": 0, "lastFinished": at(-7), "requests": requests}
        self.body = json.dumps({"since": at(-100), "epoch": epoch, "models": {str(KEY): load}})

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


@pytest.mark.parametrize(
    ("told", "load"),
    [
        pytest.param(at(50), None, id="within its grace period it may have streams"),
        pytest.param(at(-29), None, id="a little longer than that"),
        pytest.param(at(-31), Load(in_flight=0, quiet_since=NOW - seconds(1)), id="then it was killed"),
    ],
)
async def test_a_terminating_pod_that_does_not_answer(
    asked: tuple[Gateway, LoadPoller], told: str, load: Load | None
) -> None:
    gateway, poller = asked
    gateway.reports(0)
    gateway.pod("gateway-0", address="::1", deletionTimestamp=told)
    await poller.round()
    assert gateway.load == load


async def test_a_pod_that_is_missing_for_long_is_lost(asked: tuple[Gateway, LoadPoller]) -> None:
    gateway, poller = asked
    gateway.reports(2)
    gateway.deployment(2)
    await poller.round()
    gateway.clock.advance(LOST_SECONDS - 1)
    await poller.round()
    assert gateway.load is None
    gateway.clock.advance(1)
    await poller.round()
    assert gateway.load == Load(in_flight=2, quiet_since=NOW - seconds(7))


async def test_the_last_words_of_an_envoy_that_is_gone_are_kept_until_another_leads(
    asked: tuple[Gateway, LoadPoller],
) -> None:
    gateway, poller = asked

    def ended() -> list[tuple[str, str, int]]:
        assert gateway.store.reports is not None
        told = [(pod, received.report) for pod, received in gateway.store.reports.ended]
        return [(pod, report.epoch, report.models[str(KEY)].requests) for pod, report in told if report]

    gateway.reports(0, requests=3, epoch="one")
    await poller.begin()
    assert ended() == []
    gateway.reports(0, requests=1, epoch="two")
    await poller.round()
    assert ended() == [("gateway-1", "one", 3)]
    gateway.body = "no report"
    await poller.round()
    assert ended() == [("gateway-1", "one", 3)]
    gateway.cluster.remove(POD, ObjectKey(GATEWAY.namespace, "gateway-1"))
    await poller.round()
    assert ended() == [("gateway-1", "one", 3), ("gateway-1", "two", 1)]
    await poller.begin()
    assert ended() == []


async def test_more_answers_are_announced_as_often_as_they_are_written(
    asked: tuple[Gateway, LoadPoller],
) -> None:
    gateway, poller = asked
    announced = []
    for second in range(0, 2 * WRITE_SECONDS, 50):
        gateway.reports(0, requests=1 + second)
        gateway.changed.clear()
        await poller.round()
        if gateway.changed:
            announced.append(second)
        gateway.clock.advance(50)
    assert announced == [0, WRITE_SECONDS]


async def test_no_gateway_is_said(asked: tuple[Gateway, LoadPoller]) -> None:
    gateway, poller = asked
    gateway.cluster.objects.clear()
    with pytest.raises(Retryable) as fault:
        await poller.round()
    assert str(fault.value) == "there is no gateway Deployment system/tertium-gateway; nothing is scaled down"

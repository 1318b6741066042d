"""Every call of a cluster passes the gate, by its own name and kind."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tertium.api.meta import ObjectKey
from tertium.core.errors import Retryable
from tertium.kube.cluster import LEASE, LLM_DEPLOYMENT, POD, SERVICE, Cluster, Kind
from tertium.kube.intercept import READS, InterceptedCluster
from tests.factories import KEY, NOW, a_manifest, a_pod_manifest
from tests.fakes.cluster import FakeCluster

A_SERVICE = {"kind": "Service", "metadata": {"name": "s", "namespace": "team-a"}, "spec": {"replicas": 1}}


async def call_everything(cluster: Cluster) -> None:
    """Call each method once, on a cluster that has one deployment, one pod and one Lease."""
    await cluster.get(POD, KEY)
    await cluster.list(POD)
    assert [len(page) async for page in cluster.pages(POD)] == [1]
    await cluster.pod_log(KEY, "engine", tail_lines=1)
    created = await cluster.apply(SERVICE, A_SERVICE)
    uid = created["metadata"]["uid"]
    await cluster.scale(SERVICE, ObjectKey("team-a", "s"), 2, uid=uid)
    await cluster.replace(
        LEASE, {"kind": "Lease", "metadata": {"name": "l", "namespace": "team-a"}, "spec": {}}
    )
    await cluster.renew_lease(ObjectKey("team-a", "l"), {"me": "waits"})
    await cluster.annotate(POD, ObjectKey("team-a", "p"), {"a": "b"}, uid="pod-p", manager="tertium-drain")
    await cluster.apply_status(LLM_DEPLOYMENT, {**a_manifest(), "status": {"replicas": 1}})
    await cluster.event(LLM_DEPLOYMENT, KEY, uid="uid-1", type="Normal", reason="Woke", message="m", now=NOW)
    await cluster.delete(SERVICE, ObjectKey("team-a", "s"), uid=uid)


@pytest.fixture
def fake() -> FakeCluster:
    cluster = FakeCluster()
    cluster.put(a_manifest())
    cluster.put(a_pod_manifest("p"))
    return cluster


def methods() -> set[str]:
    return {name for name, _ in inspect.getmembers(Cluster, inspect.isfunction) if not name.startswith("_")}


async def test_every_call_passes_the_gate_and_does_its_work(fake: FakeCluster) -> None:
    passed: list[tuple[str, str]] = []

    @asynccontextmanager
    async def gate(verb: str, kind: Kind) -> AsyncIterator[None]:
        passed.append((verb, kind.kind))
        yield

    await call_everything(InterceptedCluster(fake, gate))
    assert passed == [
        ("get", "Pod"),
        ("list", "Pod"),
        ("pages", "Pod"),
        ("pod_log", "Pod"),
        ("apply", "Service"),
        ("scale", "Service"),
        ("replace", "Lease"),
        ("renew_lease", "Lease"),
        ("annotate", "Pod"),
        ("apply_status", "LLMDeployment"),
        ("event", "Event"),
        ("delete", "Service"),
    ]
    assert {verb for verb, _ in passed} == methods() - {"watch"}
    assert fake.one(LLM_DEPLOYMENT, KEY.name)["status"] == {"replicas": 1}
    assert fake.one(POD, "p")["metadata"]["annotations"] == {"a": "b"}
    assert fake.one(LEASE, "l")["metadata"]["annotations"] == {"me": "waits"}


async def test_what_the_gate_refuses_is_not_sent(fake: FakeCluster) -> None:
    @asynccontextmanager
    async def gate(verb: str, kind: Kind) -> AsyncIterator[None]:
        raise Retryable("closed")
        yield

    cluster = InterceptedCluster(fake, gate)
    with pytest.raises(Retryable, match="closed"):
        await cluster.apply(SERVICE, A_SERVICE)
    assert fake.calls == []


async def test_a_watch_passes_freely(fake: FakeCluster) -> None:
    events = InterceptedCluster(fake, lambda verb, kind: pytest.fail(verb)).watch(POD)
    first = await anext(events)
    assert first.object is not None
    assert first.object["metadata"]["name"] == "p"


def test_what_changes_nothing_is_known() -> None:
    assert methods() > READS
    assert methods() - READS == {
        "annotate",
        "apply",
        "apply_status",
        "delete",
        "event",
        "renew_lease",
        "replace",
        "scale",
    }

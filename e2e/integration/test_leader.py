"""Several operators: one decides, and one that was away too long writes nothing any more."""

from __future__ import annotations

import time

import pytest

from e2e.fleet.model import Model, wait_right
from e2e.fleet.operator import OperatorProcess
from e2e.fleet.plane import SYSTEM, Plane
from e2e.fleet.proxy import WRITES, FaultProxy
from e2e.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("gateway")]

LEASE_SECONDS = 6
TIMES = {
    "TERTIUM_LEASE_SECONDS": str(LEASE_SECONDS),
    "TERTIUM_RENEW_SECONDS": "4",
    "TERTIUM_RETRY_SECONDS": "1",
}


def leads(operator: OperatorProcess) -> bool:
    return any(line["event"] == "leading" for line in operator.lines())


def leads_now(operator: OperatorProcess) -> bool:
    """Whether the last that it said of it is that it leads."""
    said = [line["event"] for line in operator.lines() if "leading" in line["event"]]
    return bool(said[-1] == "leading")


def test_a_paused_leader_is_replaced_and_writes_nothing_when_it_comes_back(
    plane: Plane, proxy: FaultProxy, namespace: str
) -> None:
    asked: list[str] = []
    proxy.plan = lambda method, path: asked.append(path) if method in WRITES else None
    first = plane.operator(name="first", environment=TIMES, server=proxy.url)
    until("the first leads", lambda: leads(first), seconds=30, every=0.1)
    second = plane.operator(name="second", environment=TIMES)
    second.wait_ready()
    sleeper = Model.make(plane.api, namespace, "sleeper")
    assert not leads(second)

    first.freeze()
    late = Model.apply(plane.api, namespace, "late")
    until("the second leads", lambda: leads(second), seconds=3 * LEASE_SECONDS, every=0.1)
    late.wait("Ready", "True", seconds=20)
    sleeper.wake()
    wait_right([sleeper], 1, seconds=10)
    wait_right([late], 0, seconds=10)

    # There is work when the first comes back.
    asked.clear()
    late.demand()
    first.thaw()
    late.wake()
    time.sleep(LEASE_SECONDS)
    assert [path for path in asked if f"/namespaces/{SYSTEM}/leases" not in path] == []
    wait_right([sleeper, late], 1, seconds=10)
    assert not leads_now(first)


def test_a_leader_that_stops_hands_over_at_once(plane: Plane, namespace: str) -> None:
    first = plane.operator(name="first")
    until("the first leads", lambda: leads(first), seconds=30, every=0.1)
    second = plane.operator(name="second")
    second.wait_ready()
    model = Model.make(plane.api, namespace, "handed-over")
    first.stop()
    begun = time.monotonic()
    until("the second leads", lambda: leads(second), seconds=10, every=0.1)
    assert time.monotonic() - begun < 5
    model.wake()
    wait_right([model], 1, seconds=10)

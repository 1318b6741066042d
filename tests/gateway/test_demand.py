"""Renewing demand Leases, on a clock that jumps."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime
from typing import cast

import pytest

from tertium.api.conditions import Reason
from tertium.api.meta import ObjectKey
from tertium.core.errors import Retryable, Terminal, TertiumError
from tertium.gateway.demand import Demand
from tertium.kube.cluster import Cluster

KEY = ObjectKey("team", "m")


class Leases:
    """Notes the loop time of each call; fails, or hangs, as long as there are faults left."""

    def __init__(self, *faults: TertiumError | None) -> None:
        self.calls: list[float] = []
        self._faults = list(faults)

    async def renew_lease(self, key: ObjectKey, holder: str, now: datetime) -> None:
        assert (str(key), holder) == ("team/m-demand", "pod-1")
        self.calls.append(round(asyncio.get_running_loop().time(), 2))
        if self._faults:
            fault = self._faults.pop(0)
            if fault is None:
                await asyncio.sleep(100)
            else:
                raise fault


async def stated(demand: Demand, seconds: float) -> list[str]:
    """State demand for so long; return what was told."""
    said: list[str] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await demand.state(KEY, said.append)
    return said


@pytest.mark.looptime
async def test_demand_is_renewed_at_once_and_every_five_seconds() -> None:
    leases = Leases()
    assert await stated(Demand(cast(Cluster, leases), "pod-1"), 11) == ["", "", ""]
    assert leases.calls == [0, 5, 10]


@pytest.mark.looptime
async def test_a_second_wake_within_a_second_does_not_renew_again() -> None:
    leases = Leases()
    demand = Demand(cast(Cluster, leases), "pod-1")
    await stated(demand, 0.5)
    assert await stated(demand, 4) == [""]
    assert leases.calls == [0]
    await stated(demand, 1)
    assert leases.calls == [0, 4.5]


@pytest.mark.looptime
async def test_failures_are_told_and_tried_again_soon() -> None:
    leases = Leases(Retryable("no answer"), Terminal(Reason.INVALID, "forbidden"), Retryable("busy", after=2))
    assert await stated(Demand(cast(Cluster, leases), "pod-1"), 3) == ["no answer", "forbidden", "busy", ""]
    assert leases.calls == [0, 0.05, 0.15, 2.15]


@pytest.mark.looptime
async def test_a_call_that_hangs_is_given_up() -> None:
    leases = Leases(None)
    said = await stated(Demand(cast(Cluster, leases), "pod-1"), 4)
    assert said == ["renew Lease team/m-demand: no answer within 3 s", ""]
    assert leases.calls == [0, 3.05]

"""Renewing demand Leases, on a clock that jumps."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import cast

import pytest

from tertium.api.conditions import Reason
from tertium.api.meta import Manifest, ObjectKey
from tertium.core.demand import claim_key, claim_text
from tertium.core.errors import Retryable, Terminal, TertiumError
from tertium.gateway.demand import Demand
from tertium.kube.cluster import Cluster

KEY = ObjectKey("team", "m")


class Leases:
    """Notes the loop time of each call; fails, or hangs, as long as there are faults left."""

    def __init__(self, *faults: TertiumError | None) -> None:
        self.calls: list[float] = []
        self.written: list[dict[str, str | None]] = []
        self.others: dict[str, str] = {}
        self.faults = list(faults)

    async def renew_lease(self, key: ObjectKey, claims: Mapping[str, str | None]) -> Manifest:
        assert str(key) == "team/m-demand"
        self.calls.append(round(asyncio.get_running_loop().time(), 2))
        self.written.append({name.removeprefix("demand.tertium.dev/"): text for name, text in claims.items()})
        if self.faults:
            fault = self.faults.pop(0)
            if fault is None:
                await asyncio.sleep(100)
            else:
                raise fault
        annotations = {name: text for name, text in {**self.others, **claims}.items() if text is not None}
        return {"metadata": {"name": key.name, "annotations": annotations}}

    @property
    def lasting(self) -> list[str | None]:
        """For how long each claim was made; None: it was taken back."""
        own = [claims["pod-1"] for claims in self.written]
        return [None if claim is None else claim.partition("/")[2] for claim in own]


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


@pytest.mark.looptime
async def test_demand_is_taken_back_a_moment_after_the_last_request_left() -> None:
    leases = Leases()
    demand = Demand(cast(Cluster, leases), "pod-1")
    await stated(demand, 1)
    await demand.end(KEY)
    assert (leases.calls, leases.lasting) == ([0, 3], ["PT15S", None])


@pytest.mark.looptime
async def test_who_asks_again_within_that_moment_keeps_it() -> None:
    leases = Leases()
    demand = Demand(cast(Cluster, leases), "pod-1")
    await stated(demand, 1)
    await asyncio.gather(demand.end(KEY), stated(demand, 6))
    assert (leases.calls, leases.lasting) == ([0, 1, 6], ["PT15S"] * 3)


@pytest.mark.looptime
async def test_demand_that_was_never_stated_is_not_taken_back() -> None:
    leases = Leases()
    await Demand(cast(Cluster, leases), "pod-1").end(KEY)
    assert leases.calls == []


@pytest.mark.looptime
async def test_taking_back_is_tried_a_few_times_and_then_left_to_time() -> None:
    leases = Leases()
    demand = Demand(cast(Cluster, leases), "pod-1")
    await stated(demand, 1)
    leases.faults += [Retryable("no answer")] * 9
    await demand.end(KEY)
    assert leases.calls == [0, 3, 3.05, 3.15, 3.35, 3.85]


@pytest.mark.looptime
async def test_who_was_told_when_to_come_back_is_waited_for() -> None:
    leases = Leases()
    demand = Demand(cast(Cluster, leases), "pod-1")
    await stated(demand, 1)
    demand.promise(KEY, 42)
    await demand.end(KEY)
    assert leases.lasting == ["PT15S", "PT40S"]
    await stated(demand, 1)
    assert leases.lasting[2:] == ["PT40S"], "a renewal does not shorten it"
    await asyncio.sleep(60)
    await stated(demand, 1)
    await demand.end(KEY)
    assert leases.lasting[3:] == ["PT15S", None]


@pytest.mark.looptime
async def test_a_thousand_callers_who_do_not_wait_are_one_renewal_until_they_come_back() -> None:
    leases = Leases()
    demand = Demand(cast(Cluster, leases), "pod-1")
    said = await asyncio.gather(*(demand.promise_now(KEY, 120) for _ in range(1000)))
    assert (set(said), leases.calls, leases.lasting) == ({""}, [0], ["PT120S"])


@pytest.mark.looptime
async def test_a_caller_who_does_not_wait_learns_why_it_could_not_be_stated() -> None:
    demand = Demand(cast(Cluster, Leases(Retryable("busy"))), "pod-1")
    assert [await demand.promise_now(KEY, 120), await demand.promise_now(KEY, 120)] == ["busy", ""]


@pytest.mark.looptime
async def test_claims_of_pods_that_were_killed_long_ago_are_cleared_away() -> None:
    leases = Leases()
    old, young = claim_key("killed"), claim_key("alive")
    leases.others = {old: "2020-01-01T00:00:00Z/PT15S", young: claim_text(datetime.now(UTC), 15)}
    await stated(Demand(cast(Cluster, leases), "pod-1"), 16)
    assert [sorted(claims) for claims in leases.written] == [["pod-1"]] * 3 + [["killed", "pod-1"]]
    assert leases.written[3]["killed"] is None


@pytest.mark.looptime
async def test_a_claim_that_is_renewed_is_left_alone_however_old_it_looks() -> None:
    leases = Leases()
    demand = Demand(cast(Cluster, leases), "pod-1")
    for number in range(20):
        leases.others = {claim_key("late"): f"2020-01-01T00:00:{number:02}Z/PT15S"}
        await stated(demand, 5)
    assert {frozenset(claims) for claims in leases.written} == {frozenset({"pod-1"})}

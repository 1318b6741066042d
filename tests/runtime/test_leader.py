"""Who leads and for how long, and that nobody else writes: two candidates on a loop whose time is free."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import Any

import pytest

from tertium.api.meta import ObjectKey
from tertium.core.errors import Retryable
from tertium.kube.cluster import LEASE, SERVICE
from tertium.kube.intercept import InterceptedCluster
from tertium.runtime.leader import Leadership, Terms
from tests.factories import NOW
from tests.fakes.cluster import FakeCluster

pytestmark = pytest.mark.looptime

LOCK = ObjectKey("system", "tertium-operator")
TERMS = Terms(lease_seconds=15, renew_seconds=10, retry_seconds=2)


class LoopClock:
    """The time of day on this loop."""

    def now(self) -> datetime:
        return NOW + timedelta(seconds=seconds())


class Candidate:
    """One operator: what it is asked to do while it leads is to write a Service every second."""

    def __init__(self, cluster: FakeCluster, name: str) -> None:
        self.paused = False
        self.answer_seconds = 0.0
        """How long what a call has done takes to be known."""
        self.name = name
        self.terms_begun: list[float] = []
        self.written_at: list[float] = []
        self.unlocked = cluster
        self.leadership = Leadership(
            InterceptedCluster(cluster, self.network), LOCK, name, TERMS, LoopClock(), seconds=seconds
        )
        self.fenced = InterceptedCluster(cluster, self.leadership.gate)

    def network(self, verb: str, kind: object) -> _Network:
        return _Network(self)

    async def work(self) -> None:
        self.terms_begun.append(seconds())
        while True:
            await self.write()
            await asyncio.sleep(1)

    async def write(self) -> None:
        manifest = {"kind": "Service", "metadata": {"name": self.name, "namespace": "a"}}
        try:
            await self.fenced.apply(SERVICE, manifest)
        except Retryable:
            return
        self.written_at.append(seconds())

    def run(self) -> Coroutine[Any, Any, None]:
        return self.leadership.run(self.work)


class _Network:
    """What a candidate's calls about the Lease pass; cut off, they fail, and slow, they are done unseen."""

    def __init__(self, candidate: Candidate) -> None:
        self._candidate = candidate

    async def __aenter__(self) -> None:
        if self._candidate.paused:
            raise Retryable("cut off")

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(self._candidate.answer_seconds)


class Running:
    """Candidates that run for the length of a block."""

    def __init__(self, *candidates: Candidate) -> None:
        self.tasks = [asyncio.create_task(candidate.run()) for candidate in candidates]

    async def __aenter__(self) -> Running:
        return self

    async def stop(self, index: int) -> None:
        self.tasks[index].cancel()
        await asyncio.gather(self.tasks[index], return_exceptions=True)

    async def __aexit__(self, *_: object) -> None:
        for index in range(len(self.tasks)):
            await self.stop(index)


def seconds() -> float:
    return asyncio.get_running_loop().time()


def lease(cluster: FakeCluster) -> dict[str, Any]:
    return dict(cluster.one(LEASE, LOCK.name, LOCK.namespace)["spec"])


async def test_of_two_one_leads_and_writes() -> None:
    cluster = FakeCluster()
    one, other = Candidate(cluster, "one"), Candidate(cluster, "other")
    async with Running(one, other):
        await asyncio.sleep(60.5)
        assert lease(cluster)["holderIdentity"] == "one"
        assert (one.terms_begun, other.terms_begun, other.written_at) == ([0.0], [], [])
        assert len(one.written_at) == 61
        await other.write()
        assert other.written_at == []


async def test_a_leader_that_ends_gives_the_lease_back() -> None:
    cluster = FakeCluster()
    one, other = Candidate(cluster, "one"), Candidate(cluster, "other")
    async with Running(one, other) as running:
        await asyncio.sleep(30)
        await running.stop(0)
        assert "holderIdentity" not in lease(cluster)
        await asyncio.sleep(2)
        assert other.leadership.leading
        assert lease(cluster)["leaseTransitions"] == 2


@pytest.mark.parametrize("moment", [30.0, 30.4, 30.8, 31.2, 31.6, 32.0])
async def test_a_leader_that_ends_in_the_middle_of_a_renewal_gives_the_lease_back(moment: float) -> None:
    cluster = FakeCluster()
    one = Candidate(cluster, "one")
    one.answer_seconds = 0.5
    async with Running(one) as running:
        await asyncio.sleep(moment)
        await running.stop(0)
        assert "holderIdentity" not in lease(cluster)


async def test_a_leader_that_is_cut_off_has_stopped_before_another_begins() -> None:
    cluster = FakeCluster()
    one, other = Candidate(cluster, "one"), Candidate(cluster, "other")
    async with Running(one, other):
        await asyncio.sleep(30)
        one.paused = True
        await asyncio.sleep(60)
        assert 30 + 6 < one.written_at[-1] <= 30 + 10
        assert 30 + 13 <= other.terms_begun[0] <= 30 + 15 + 2 + 2
        one.paused = False
        await asyncio.sleep(60)
        assert one.written_at[-1] < other.terms_begun[0]
        assert (len(one.terms_begun), len(other.terms_begun)) == (1, 1)


async def test_a_leader_that_is_cut_off_for_a_moment_goes_on() -> None:
    cluster = FakeCluster()
    one, other = Candidate(cluster, "one"), Candidate(cluster, "other")
    async with Running(one, other):
        await asyncio.sleep(30)
        one.paused = True
        await asyncio.sleep(7)
        one.paused = False
        await asyncio.sleep(60)
        assert (one.terms_begun, other.terms_begun) == ([0.0], [])


async def test_alone_it_leads_again_when_the_api_server_is_back() -> None:
    cluster = FakeCluster()
    one = Candidate(cluster, "one")
    async with Running(one):
        await asyncio.sleep(5)
        one.paused = True
        await asyncio.sleep(300)
        assert not one.leadership.leading
        assert one.leadership.silence() > 290
        one.paused = False
        await asyncio.sleep(4)
        assert one.leadership.leading
        assert len(one.terms_begun) == 2


async def test_a_write_that_hangs_is_given_up_when_the_right_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = FakeCluster()
    one = Candidate(cluster, "one")
    await one.leadership.attempt()

    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(cluster, "apply", hang)
    with pytest.raises(Retryable, match="apply Service: given up, this operator's lease has ended"):
        await one.fenced.apply(SERVICE, {})
    assert seconds() == pytest.approx(10)
    with pytest.raises(
        Retryable, match=r"apply Service: not sent, this operator is not the leader \(any more\)"
    ):
        await one.fenced.apply(SERVICE, {})


async def test_a_follower_may_read() -> None:
    cluster = FakeCluster()
    follower = Candidate(cluster, "one")
    assert await follower.fenced.get(SERVICE, ObjectKey("a", "b")) is None
    assert await follower.fenced.list(SERVICE) == []


async def test_the_same_pod_restarted_need_not_wait_for_itself() -> None:
    cluster = FakeCluster()
    await Candidate(cluster, "one").leadership.attempt()
    restarted = Candidate(cluster, "one")
    await restarted.leadership.attempt()
    assert restarted.leadership.leading
    assert lease(cluster)["leaseTransitions"] == 1


async def test_a_lease_edited_by_somebody_is_renewed_all_the_same() -> None:
    cluster = FakeCluster()
    one = Candidate(cluster, "one")
    await one.leadership.attempt()
    live = cluster.one(LEASE, LOCK.name, LOCK.namespace)
    cluster.put({**live, "metadata": {**live["metadata"], "annotations": {"note": "x"}}})
    await asyncio.sleep(9)
    await one.leadership.attempt()
    assert one.leadership.remaining() == 10
    assert cluster.one(LEASE, LOCK.name, LOCK.namespace)["metadata"]["annotations"] == {"note": "x"}


async def test_a_bug_in_the_work_ends_the_program_and_frees_the_lease() -> None:
    cluster = FakeCluster()
    one = Candidate(cluster, "one")

    async def broken() -> None:
        raise ZeroDivisionError("odd")

    with pytest.raises(ZeroDivisionError):
        await one.leadership.run(broken)
    assert "holderIdentity" not in lease(cluster)

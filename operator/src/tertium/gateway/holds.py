"""Holding: a request for a model that sleeps waits here until a replica answers or the truth is known.

Puts together what the other modules do: who waits, stating demand, probing, telling Envoy, letting go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from tertium.api.meta import ObjectKey
from tertium.core.eta import remaining_millis
from tertium.core.routing import Model
from tertium.gateway import answers
from tertium.gateway.answers import Answer
from tertium.gateway.demand import Demand
from tertium.gateway.envoy_admin import EnvoyAdmin
from tertium.gateway.metrics import GatewayMetrics
from tertium.gateway.pace import LOOK_SECONDS, Pace
from tertium.gateway.probe import Prober
from tertium.gateway.publish import Publisher
from tertium.gateway.waiters import Bounds, Freed, Full, Outcome, Waiter, Waiters
from tertium.gateway.warm_up import WarmUp
from tertium.gateway.wishes import hold_seconds
from tertium.gateway.world import World

PROMISE_SECONDS: Final = 10
"""Who was told when to come back counts as waiting for so much longer."""
CONFIRM_SECONDS: Final = 0.25

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request that Envoy could not give to a replica."""

    key: ObjectKey
    attempt: int
    """Envoy's tries, this one included."""
    wish: int | None = None
    """For how many seconds its caller wants to be held; None: it does not say."""
    size: int = 0
    """Bytes of its body."""


class Holds:
    """The held requests of this gateway and everything that is done for them."""

    def __init__(
        self,
        *,
        world: World,
        publisher: Publisher,
        admin: EnvoyAdmin,
        prober: Prober,
        warm_up: WarmUp,
        demand: Demand,
        metrics: GatewayMetrics,
        bounds: Bounds,
    ) -> None:
        self.waiters = Waiters(bounds)
        self._world = world
        self._publisher = publisher
        self._prober = prober
        self._warm_up = warm_up
        self._demand = demand
        self._metrics = metrics
        self._pace = Pace(admin)
        self._stopping = False
        self._efforts: dict[ObjectKey, asyncio.Task[None]] = {}
        self._releases: dict[ObjectKey, asyncio.Task[None]] = {}
        self._endings: set[asyncio.Task[None]] = set()
        self._wanted: dict[ObjectKey, asyncio.Event] = {}

    def take_note(self, keys: Sequence[ObjectKey]) -> None:
        """Bring Envoy and the held requests in line with what the world has become."""
        self._publisher.publish(self._world.table, {key: self._world.addresses(key) for key in keys})
        for key in keys:
            model = self._world.table.models.get(key)
            if model is None:
                self._demand.forget(key)
                self._settle(key, Freed.GONE)
                continue
            for replica in self._world.cold(key):
                self._warm_up.begin(key, replica, self._world.warmed)
            if self.waiters.count(key):
                self._advance(model)

    def eta(self, key: ObjectKey) -> int | None:
        """Return in how many seconds a replica is expected to answer; None: nobody can know."""
        model = self._world.table.models.get(key)
        if model is None:
            return None
        millis = remaining_millis(model.starts, round(self._world.elapsed(key) * 1000))
        return None if millis is None else -(-millis // 1000)

    async def hold(self, ask: Ask) -> Answer:
        """Answer one request that Envoy could not give to a replica."""
        model = self._world.table.models.get(ask.key)
        if model is None:
            return answers.not_found(str(ask.key))
        seconds = hold_seconds(model, ask.wish)
        at_once = await self._answer_at_once(model, ask.attempt, seconds)
        if at_once is not None:
            return at_once
        limit, now = model.max_pending, datetime.now(UTC)
        waiter = self.waiters.join(model.key, limit=limit, size=ask.size, now=now)
        if isinstance(waiter, Full):
            self._metrics.full(waiter)
            return answers.too_many(model, waiter, self.eta(model.key))
        begun, outcome = asyncio.get_running_loop().time(), "abandoned"
        try:
            self._begin(model)
            async with asyncio.timeout(seconds):
                freed = await waiter.outcome
            outcome = freed.value if isinstance(freed, Freed) else "refused"
            return _answer(model, freed)
        except TimeoutError:
            outcome = "gave up"
            # What the operator says of the start may have been said while the request was held.
            return self._give_up(self._world.table.models.get(model.key, model), seconds)
        finally:
            self._leave(model.key, waiter)
            self._metrics.held(outcome, asyncio.get_running_loop().time() - begun)

    async def _answer_at_once(self, model: Model, attempt: int, seconds: int) -> Answer | None:
        """Answer without holding: a replica serves, none can be had, or this caller does not wait.

        After the first attempt the published replicas are asked for their health before they get the request
        again. While others wait for a replica's attention, a newcomer goes to the end of their line.
        """
        key = model.key
        if attempt > 1:
            await self._recheck(key)
        if self._world.addresses(key):
            if attempt == 1 and seconds > 0 and self.waiters.waiting(key):
                return None
            await self._confirm(key)
            return answers.released(model)
        if model.refusal is not None:
            return answers.refused(model, model.refusal)
        if self._stopping:
            return answers.stopping()
        if seconds == 0:
            eta = self.eta(key)
            fault = await self._demand.promise_now(key, answers.retry_after(eta) + PROMISE_SECONDS)
            return answers.waking(model, self._world.state(key, awaited=True), fault, eta)
        return None

    def stop(self) -> None:
        """Answer all that is held, now and from now on: nobody will be here to answer it later."""
        self._stopping = True
        for key in list(self.waiters.wakes):
            self._settle(key, Freed.STOPPING)

    async def close(self) -> None:
        """Stop all that is under way."""
        await self._warm_up.close()
        tasks = [*self._efforts.values(), *self._releases.values(), *self._endings]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, model: Model) -> None:
        key = model.key
        if key not in self._efforts:
            self._wanted[key] = asyncio.Event()
            self.waiters.wakes[key].expected = self.eta(key)
            self._efforts[key] = asyncio.create_task(self._wake(key), name=f"wake {key}")
            self._efforts[key].add_done_callback(_report)
        self._advance(model)

    async def _wake(self, key: ObjectKey) -> None:
        """State demand and probe, until nobody waits any more."""
        wake = self.waiters.wakes[key]

        def told(fault: str) -> None:
            wake.fault = fault
            if not fault:
                wake.mark("leaseAt", datetime.now(UTC))

        async with asyncio.TaskGroup() as group:
            group.create_task(self._demand.state(key, told))
            group.create_task(
                self._prober.watch(
                    lambda: [item for item in self._world.replicas(key) if not self._world.serves(item)],
                    lambda replica: self._world.prove(key, replica),
                    self._wanted[key],
                )
            )

    def _advance(self, model: Model) -> None:
        """Something changed for a model that is waited for."""
        key = model.key
        wake = self.waiters.wakes[key]
        if self._world.replicas(key):
            wake.mark("podIpAt", datetime.now(UTC))
        if self._world.addresses(key):
            wake.mark("healthyAt", datetime.now(UTC))
            if key not in self._releases:
                self._releases[key] = asyncio.create_task(self._release(key), name=f"release {key}")
                self._releases[key].add_done_callback(_report)
        elif model.refusal is not None:
            self._settle(key, model.refusal)
        elif key in self._wanted:
            self._wanted[key].set()

    async def _release(self, key: ObjectKey) -> None:
        """Let the held requests go, first come first, no faster than the replicas work them off."""
        try:
            if await self._confirm(key):
                self._published(key)
            first = True
            while self._world.addresses(key) and self.waiters.waiting(key):
                model = self._world.table.models.get(key)
                if model is None:
                    return
                capacity = model.concurrent_sequences * len(self._world.addresses(key))
                room = capacity if first else await self._pace.room(key, capacity)
                self._settle(key, Freed.READY, most=room)
                first = False
                if self.waiters.waiting(key):
                    await asyncio.sleep(LOOK_SECONDS)
        finally:
            del self._releases[key]
            self._pace.forget(key)

    def _published(self, key: ObjectKey) -> None:
        wake = self.waiters.wakes.get(key)
        if wake is not None and wake.mark("publishedAt", datetime.now(UTC)):
            lasted = asyncio.get_running_loop().time() - wake.begun
            self._metrics.woke(lasted, wake.expected)

    def _settle(self, key: ObjectKey, outcome: Outcome, *, most: int | None = None) -> None:
        wake = self.waiters.wakes.get(key)
        if wake is not None and self.waiters.settle(key, outcome, most=most):
            wake.outcome = outcome.value if isinstance(outcome, Freed) else outcome.reason
            wake.mark("releasedAt", datetime.now(UTC))

    def _give_up(self, model: Model, seconds: int) -> Answer:
        wake, eta = self.waiters.wakes[model.key], self.eta(model.key)
        wake.outcome = "gave up"
        self._demand.promise(model.key, answers.retry_after(eta) + PROMISE_SECONDS)
        return answers.gave_up(model, seconds, wake.fault, eta)

    def _leave(self, key: ObjectKey, waiter: Waiter) -> None:
        """Let go of one request; with the last one, demand and probing end."""
        wake = self.waiters.leave(key, waiter)
        if wake is None:
            return
        effort = self._efforts.pop(key, None)
        if effort is not None:
            effort.cancel()
        self._wanted.pop(key, None)
        if not self._stopping:  # callers ask another gateway pod at once: what this one said holds until then
            ending = asyncio.create_task(self._demand.end(key), name=f"end of demand {key}")
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)
            ending.add_done_callback(_report)
        self._metrics.wake_ended(wake.outcome)
        _log.info("wake", extra={"deployment": str(key), **wake.summary()})

    async def _confirm(self, key: ObjectKey) -> bool:
        """Wait, a moment at most, until Envoy has the endpoints that were published."""
        taken = await self._publisher.has_endpoints(key, limit_seconds=CONFIRM_SECONDS)
        if not taken:
            _log.warning("endpoints not confirmed by Envoy", extra={"deployment": str(key)})
        return taken

    async def _recheck(self, key: ObjectKey) -> None:
        """Ask the published replicas themselves: one that refused a connection gets no more requests."""
        published = [item for item in self._world.replicas(key) if self._world.serves(item)]
        verdicts = await asyncio.gather(*(self._prober.healthy(replica) for replica in published))
        for replica, healthy in zip(published, verdicts, strict=True):
            if not healthy:
                _log.warning("replica does not answer", extra={"deployment": str(key), "pod": replica.name})
                self._world.doubt(key, replica)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (fault := task.exception()) is not None:
        _log.error("wake broke", exc_info=fault, extra={"task": task.get_name()})


def _answer(model: Model, outcome: Outcome) -> Answer:
    if outcome is Freed.READY:
        return answers.released(model)
    if outcome is Freed.STOPPING:
        return answers.stopping()
    if isinstance(outcome, Freed):
        return answers.not_found(str(model.key))
    return answers.refused(model, outcome)

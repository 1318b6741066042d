"""Holding: a request for a model that sleeps waits here until a replica answers or the truth is known.

Puts together what the other modules do: who waits, stating demand, probing, telling Envoy, letting go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from tertium.api.meta import ObjectKey
from tertium.core.routing import Model
from tertium.gateway import answers
from tertium.gateway.answers import Answer
from tertium.gateway.demand import Demand
from tertium.gateway.probe import Prober
from tertium.gateway.publish import Publisher
from tertium.gateway.waiters import Freed, Outcome, Waiters
from tertium.gateway.world import World

CONFIRM_SECONDS: Final = 0.25

_log = logging.getLogger(__name__)


class Holds:
    """The held requests of this gateway and everything that is done for them."""

    def __init__(self, *, world: World, publisher: Publisher, prober: Prober, demand: Demand) -> None:
        self.waiters = Waiters()
        self._world = world
        self._publisher = publisher
        self._prober = prober
        self._demand = demand
        self._efforts: dict[ObjectKey, asyncio.Task[None]] = {}
        self._releases: dict[ObjectKey, asyncio.Task[None]] = {}
        self._wanted: dict[ObjectKey, asyncio.Event] = {}

    def take_note(self, keys: Sequence[ObjectKey]) -> None:
        """Bring Envoy and the held requests in line with what the world has become."""
        self._publisher.publish(self._world.table, {key: self._world.addresses(key) for key in keys})
        for key in keys:
            model = self._world.table.models.get(key)
            if model is None:
                self._demand.forget(key)
                self._settle(key, Freed.GONE)
            elif self.waiters.count(key):
                self._advance(model)

    async def hold(self, key: ObjectKey, *, attempt: int) -> Answer:
        """Answer one request that Envoy could not give to a replica.

        `attempt` counts Envoy's tries: after the first, the replicas that are published are asked for their
        health before the request is sent to them again.
        """
        model = self._world.table.models.get(key)
        if model is None:
            return answers.not_found(str(key))
        at_once = await self._answer_at_once(model, attempt)
        if at_once is not None:
            return at_once
        waiter = self.waiters.join(key, limit=model.max_pending, now=datetime.now(UTC))
        if waiter is None:
            return answers.too_many(model)
        try:
            self._begin(model)
            async with asyncio.timeout(model.hold_seconds):
                outcome = await waiter
        except TimeoutError:
            # What the operator says of the start may have been said while the request was held.
            return self._give_up(self._world.table.models.get(key, model))
        finally:
            self._leave(key, waiter)
        return _answer(model, outcome)

    async def _answer_at_once(self, model: Model, attempt: int) -> Answer | None:
        """Answer without holding: a replica serves, none can be had, or callers of this model do not wait."""
        key = model.key
        if attempt > 1:
            await self._recheck(key)
        if self._world.addresses(key):
            await self._confirm(key)
            return answers.released(model)
        if model.refusal is not None:
            return answers.refused(model, model.refusal)
        if model.rejects:
            fault = await self._demand.state_once(key)
            return answers.waking(model, self._world.state(key, awaited=True), fault)
        return None

    async def close(self) -> None:
        """Stop all that is under way."""
        tasks = [*self._efforts.values(), *self._releases.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, model: Model) -> None:
        key = model.key
        if key not in self._efforts:
            self._wanted[key] = asyncio.Event()
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
        try:
            if await self._confirm(key):
                wake = self.waiters.wakes.get(key)
                if wake is not None:
                    wake.mark("publishedAt", datetime.now(UTC))
            if self._world.addresses(key):
                self._settle(key, Freed.READY)
        finally:
            del self._releases[key]

    def _settle(self, key: ObjectKey, outcome: Outcome) -> None:
        wake = self.waiters.wakes.get(key)
        if wake is not None:
            wake.outcome = outcome.value if isinstance(outcome, Freed) else outcome.reason
            wake.mark("releasedAt", datetime.now(UTC))
            self.waiters.settle(key, outcome)

    def _give_up(self, model: Model) -> Answer:
        wake = self.waiters.wakes[model.key]
        wake.outcome = "gave up"
        return answers.gave_up(model, wake.fault)

    def _leave(self, key: ObjectKey, waiter: asyncio.Future[Outcome]) -> None:
        """Let go of one request; with the last one, demand and probing end."""
        wake = self.waiters.leave(key, waiter)
        if wake is None:
            return
        effort = self._efforts.pop(key, None)
        if effort is not None:
            effort.cancel()
        self._wanted.pop(key, None)
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
    if isinstance(outcome, Freed):
        return answers.not_found(str(model.key))
    return answers.refused(model, outcome)

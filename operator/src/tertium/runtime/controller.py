"""The loop: take a key, observe, decide, build, execute, report. The only place that catches errors.

| what a pass raises | meaning              | answer                                             |
| `Terminal`         | the spec cannot work | a condition says why; a new generation is awaited  |
| `Retryable`        | a fault that passes  | the pass is repeated, later each time              |
| anything else      | a bug                | logged with its traceback, repeated after a minute |
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from tertium.api.meta import Manifest, ObjectKey, format_time
from tertium.api.v1alpha1 import GROUP, KIND, VERSION, LLMDeploymentStatus
from tertium.core import admission
from tertium.core.conditions import Said
from tertium.core.decide import decide
from tertium.core.errors import Retryable, Terminal, TertiumError
from tertium.core.events import Event, events_of, expired
from tertium.core.observed import Identity, Observed, Owner
from tertium.core.plan import Plan
from tertium.core.policy import Policy
from tertium.core.status import project_refusal, project_status
from tertium.kube.cluster import LLM_DEPLOYMENT, Cluster
from tertium.render import build_all
from tertium.runtime.clock import Clock
from tertium.runtime.execute import execute
from tertium.runtime.metrics import Metrics, Result
from tertium.runtime.observe import Observer
from tertium.runtime.queue import Lane, WorkQueue
from tertium.runtime.relist import relist
from tertium.runtime.store import Store

WORKERS: Final = 8
FIRST_RELIST_SECONDS: Final = 30.0
RELIST_SECONDS: Final = 600.0
RESYNC_SECONDS: Final = 600.0
RESYNC_SPREAD_SECONDS: Final = 300.0
"""Over how long the deployments of one resync are spread."""
BUG_WAIT_SECONDS: Final = 60.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one pass came to."""

    generation: int
    why: str
    result: Result
    rule: str = ""
    """Name of the rule that decided the replica count."""
    difference: str = ""
    """The first field in which the wanted pods differ from those that serve."""
    actions: Sequence[str] = ()
    applied: str | None = None
    """When the last object was written; None: none was."""
    requeue_after: float | None = None


class Controller:
    """Keeps every deployment as its spec and the world want it."""

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        queue: WorkQueue[ObjectKey],
        policy: Policy,
        clock: Clock,
        *,
        metrics: Metrics,
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._queue = queue
        self._policy = policy
        self._clock = clock
        self._metrics = metrics
        self._observer = Observer(cluster, store, policy)

    async def prepare(self) -> None:
        """Fill the store, or bring it up to date: a leader decides about nothing it has not seen."""
        await relist(self._cluster, self._store)

    async def run(self) -> None:
        """Look at everything once, then work until cancelled. `prepare` comes before."""
        self._queue.open()
        for key in self._store.pressing(self._clock.now()):
            self._queue.add(key)
        for key in self._store.owners:
            self._queue.add(key, Lane.RESYNC)
        _log.info("started", extra={"deployments": len(self._store.owners)})
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(WORKERS):
                    group.create_task(self._work())
                group.create_task(self._relist_for_ever())
                group.create_task(self._resync_for_ever())
        finally:
            self._queue.close()
            self._metrics.forget_all()

    async def reconcile(self, key: ObjectKey) -> Outcome | None:
        """Do one pass for one deployment; None when there is no such deployment (any more).

        Raises `Retryable` when the pass must be repeated; the status is written first where possible.
        """
        manifest = self._store.owners.get(key)
        if manifest is None or "deletionTimestamp" in manifest["metadata"]:
            self._queue.forget(key)
            self._observer.forget(key)
            self._metrics.forget(key)
            return None
        now = self._clock.now()
        identity = Identity.parse(manifest)
        try:
            owner = Owner.parse(manifest)
            admission.check(owner.spec)
            observed = await self._observer.observe(owner, now)
            self._metrics.saw(key, observed, now)
            plan = decide(owner, observed, self._policy, now)
            self._metrics.planned(key, plan.drift)
            if plan.delete_owner:
                return await self._delete(manifest, plan.delete_owner, now)
            return await self._carry_out(owner, observed, plan, now)
        except Terminal as error:
            seen = self._observer.replicas_of(identity, now)
            refusal = Said(status="False", reason=error.reason, message=str(error))
            status = project_refusal(identity, seen, refusal, self._policy, now)
            wrote = await self._report(identity, status, now)
            return Outcome(
                generation=identity.generation, why=str(error), result=Result.REFUSED, actions=wrote
            )

    async def _carry_out(self, owner: Owner, observed: Observed, plan: Plan, now: datetime) -> Outcome:
        identity = owner.identity
        desired = build_all(owner, plan, observed, self._policy)
        status = project_status(owner, observed, plan, self._policy, now)
        try:
            done = await execute(self._cluster, self._store, identity, desired)
        except Retryable:
            await self._report(identity, status, now)
            raise
        applied = format_time(self._clock.now(), micro=True) if done else None
        actions = [*done, *await self._report(identity, status, now)]
        return Outcome(
            generation=identity.generation,
            why=plan.scale.why,
            rule=plan.scale.rule,
            result=Result.CHANGED if actions else Result.UNCHANGED,
            difference=plan.rollout.first_difference if plan.rollout else "",
            actions=actions,
            applied=applied,
            requeue_after=plan.requeue_after,
        )

    async def _delete(self, manifest: Manifest, why: str, now: datetime) -> Outcome:
        """Delete the deployment, unless it was changed since it was decided upon."""
        metadata, identity = manifest["metadata"], Identity.parse(manifest)
        await self._cluster.delete(
            LLM_DEPLOYMENT, identity.key, uid=identity.uid, version=metadata["resourceVersion"]
        )
        await self._tell(identity, (expired(why),), now)
        return Outcome(
            generation=identity.generation, why=why, result=Result.CHANGED, actions=("deleted itself",)
        )

    async def _report(self, identity: Identity, status: LLMDeploymentStatus, now: datetime) -> Sequence[str]:
        """Write the status if it says anything new, and the events of that; return what was done."""
        if status == identity.status:
            return ()
        key = identity.key
        manifest: Manifest = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "metadata": {"name": key.name, "namespace": key.namespace, "uid": identity.uid},
            "status": status.model_dump(mode="json", by_alias=True, exclude_none=True),
        }
        # The next pass may come before the watch does: it must know what was said, and when.
        self._store.put(await self._cluster.apply_status(LLM_DEPLOYMENT, manifest))
        await self._tell(identity, events_of(identity.status, status), now)
        return ("wrote status",)

    async def _tell(self, about: Identity, events: Sequence[Event], now: datetime) -> None:
        """Write Kubernetes Events. One that cannot be written is lost: nothing may wait for it."""
        for event in events:
            said = {"type": event.type, "reason": event.reason.value, "message": event.message}
            try:
                await self._cluster.event(LLM_DEPLOYMENT, about.key, uid=about.uid, now=now, **said)
            except TertiumError as fault:
                _log.warning("an event was not written", extra={"key": str(about.key), "why": str(fault)})

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            try:
                await self._attempt(key)
            finally:
                self._queue.done(key)

    async def _attempt(self, key: ObjectKey) -> None:
        begun, clock = self._clock.now(), time.perf_counter()
        result = Result.FAILED
        try:
            outcome = await self.reconcile(key)
            result = outcome.result if outcome else Result.GONE
        except Retryable as fault:
            result = Result.REPEATED
            wait = self._queue.retry(key, at_least=fault.after or 0.0)
            _log.warning("reconcile is repeated", extra={"key": str(key), "why": str(fault), "requeue": wait})
        except Exception:
            self._queue.retry(key, at_least=BUG_WAIT_SECONDS)
            _log.exception("reconcile failed by a bug; please report it", extra={"key": str(key)})
        else:
            self._come_back(key, outcome)
            if outcome is not None:
                _log_outcome(key, outcome, begun, time.perf_counter() - clock)
        self._metrics.reconciled(result, time.perf_counter() - clock)

    def _come_back(self, key: ObjectKey, outcome: Outcome | None) -> None:
        """Look again when the plan asks for it, and soon after a pass that wrote, until one writes nothing.

        The echo of a write queues nobody. The waits grow: what can never be made as wanted is no hot loop.
        """
        if outcome is not None and outcome.actions:
            self._queue.retry(key)
        else:
            self._queue.succeeded(key)
        if outcome is not None and outcome.requeue_after is not None:
            self._queue.add_after(key, outcome.requeue_after)

    async def _relist_for_ever(self) -> None:
        # What was deleted between our first lists and those of the watches, only the next list tells.
        await asyncio.sleep(FIRST_RELIST_SECONDS * random.uniform(0.8, 1.2))
        while True:
            await relist(self._cluster, self._store, self._queue.add)
            await asyncio.sleep(RELIST_SECONDS * random.uniform(0.8, 1.2))

    async def _resync_for_ever(self) -> None:
        while True:
            await asyncio.sleep(RESYNC_SECONDS * random.uniform(0.8, 1.2))
            for key in self._store.owners:
                self._queue.add_after(key, random.uniform(0.0, RESYNC_SPREAD_SECONDS), Lane.RESYNC)


def _log_outcome(key: ObjectKey, outcome: Outcome, begun: datetime, seconds: float) -> None:
    """Write the one line about a pass; a pass without a write is worth it only to who debugs."""
    fields = {
        "key": str(key),
        "generation": outcome.generation,
        "result": outcome.result.value,
        "why": outcome.why,
        "rule": outcome.rule,
        "actions": list(outcome.actions),
        "begun": format_time(begun, micro=True),
        "applied": outcome.applied,
        "ms": round(seconds * 1000, 1),
        "requeue": outcome.requeue_after,
    }
    if outcome.difference:
        fields["difference"] = outcome.difference
    _log.log(logging.INFO if outcome.actions else logging.DEBUG, "reconciled", extra=fields)

"""The loop: take a key, observe, decide, build, execute, report. The only place that catches errors."""

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
from tertium.core.decide import decide
from tertium.core.errors import Retryable, Terminal, TertiumError
from tertium.core.observed import Identity, Observed, Owner
from tertium.core.plan import Plan
from tertium.core.policy import Policy
from tertium.core.status import Said, project_refusal, project_status
from tertium.kube.cluster import LLM_DEPLOYMENT, Cluster
from tertium.render import build_all
from tertium.runtime.clock import Clock
from tertium.runtime.execute import execute
from tertium.runtime.observe import Observer
from tertium.runtime.queue import WorkQueue
from tertium.runtime.relist import relist
from tertium.runtime.store import Store

WORKERS: Final = 8
FIRST_RELIST_SECONDS: Final = 30.0
RELIST_SECONDS: Final = 600.0
BUG_WAIT_SECONDS: Final = 60.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one pass came to."""

    generation: int
    why: str
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
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._queue = queue
        self._policy = policy
        self._clock = clock
        self._observer = Observer(cluster, store, policy)

    async def run(self) -> None:
        """Work until cancelled. The store must have been filled by a `relist` before."""
        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(self._work())
            group.create_task(self._relist_for_ever())

    async def reconcile(self, key: ObjectKey) -> Outcome | None:
        """Do one pass for one deployment; None when there is no such deployment (any more).

        Raises `Retryable` when the pass must be repeated; the status is written first where possible.
        """
        manifest = self._store.owners.get(key)
        if manifest is None or "deletionTimestamp" in manifest["metadata"]:
            self._queue.forget(key)
            self._observer.forget(key)
            return None
        now = self._clock.now()
        identity = Identity.parse(manifest)
        try:
            owner = Owner.parse(manifest)
            admission.check(owner.spec)
            observed = await self._observer.observe(owner, now)
            plan = decide(owner, observed, self._policy, now)
            return await self._carry_out(owner, observed, plan, now)
        except Terminal as error:
            seen = self._observer.replicas_of(identity, now)
            refusal = Said(status="False", reason=error.reason, message=str(error))
            status = project_refusal(identity, seen, refusal, self._policy, now)
            wrote = await self._report(identity, status)
            return Outcome(generation=identity.generation, why=str(error), actions=wrote)

    async def _carry_out(self, owner: Owner, observed: Observed, plan: Plan, now: datetime) -> Outcome:
        identity = owner.identity
        desired = build_all(owner, plan, observed, self._policy)
        status = project_status(identity, observed, plan, self._policy, now)
        try:
            done = await execute(self._cluster, self._store, identity, desired)
        except Retryable:
            await self._report(identity, status)
            raise
        applied = format_time(self._clock.now(), micro=True) if done else None
        wrote = await self._report(identity, status)
        return Outcome(
            generation=identity.generation,
            why=plan.scale.why,
            actions=[*done, *wrote],
            applied=applied,
            requeue_after=plan.requeue_after,
        )

    async def _report(self, identity: Identity, status: LLMDeploymentStatus) -> Sequence[str]:
        """Write the status if it says anything new; return what was done."""
        if status == identity.status:
            return ()
        content = status.model_dump(mode="json", by_alias=True, exclude_none=True)
        key = identity.key
        manifest: Manifest = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "metadata": {"name": key.name, "namespace": key.namespace},
            "status": content,
        }
        await self._cluster.apply_status(LLM_DEPLOYMENT, manifest)
        known = self._store.owners.get(key)
        if known is not None and known["metadata"]["uid"] == identity.uid:
            # The next pass may come before the watch does: it must know what was said, and when.
            self._store.owners[key] = {**known, "status": content}
        return ("wrote status",)

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            try:
                await self._attempt(key)
            finally:
                self._queue.done(key)

    async def _attempt(self, key: ObjectKey) -> None:
        begun, clock = self._clock.now(), time.perf_counter()
        try:
            outcome = await self.reconcile(key)
        except Retryable as fault:
            wait = self._queue.retry(key, at_least=fault.after or 0.0)
            _log.warning("reconcile is repeated", extra={"key": str(key), "why": str(fault), "requeue": wait})
            return
        except Exception:
            self._queue.retry(key, at_least=BUG_WAIT_SECONDS)
            _log.exception("reconcile failed by a bug; please report it", extra={"key": str(key)})
            return
        self._queue.succeeded(key)
        if outcome is None:
            return
        if outcome.requeue_after is not None:
            self._queue.add_after(key, outcome.requeue_after)
        _log.log(
            logging.INFO if outcome.actions else logging.DEBUG,
            "reconciled",
            extra={
                "key": str(key),
                "generation": outcome.generation,
                "why": outcome.why,
                "actions": list(outcome.actions),
                "begun": format_time(begun, micro=True),
                "applied": outcome.applied,
                "ms": round((time.perf_counter() - clock) * 1000, 1),
                "requeue": outcome.requeue_after,
            },
        )

    async def _relist_for_ever(self) -> None:
        wait = FIRST_RELIST_SECONDS
        while True:
            await asyncio.sleep(wait * random.uniform(0.8, 1.2))
            wait = RELIST_SECONDS
            try:
                await relist(self._cluster, self._store)
            except TertiumError as fault:
                _log.warning("lists could not be read; the watch goes on", extra={"why": str(fault)})
            for key in tuple(self._store.owners):
                self._queue.add(key)

"""A controller on a `FakeCluster`, and what else a cluster would do beside it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry

from tertium.api.meta import ObjectKey
from tertium.core import names
from tertium.core.demand import claim_key, claim_text
from tertium.core.errors import Retryable
from tertium.core.revision import source_digest
from tertium.kube.cluster import JOB, LEASE, LLM_DEPLOYMENT, POD
from tertium.runtime.controller import Controller, Outcome
from tertium.runtime.metrics import Metrics
from tertium.runtime.queue import WorkQueue
from tertium.runtime.relist import relist
from tertium.runtime.store import Store
from tests.factories import FACTS, KEY, POLICY, FixedClock, a_manifest, a_node, a_pod_manifest, an_owner, at
from tests.fakes.cluster import FakeCluster


class World:
    """One deployment's cluster. `pass_` syncs the store, as the watch would, and reconciles once."""

    def __init__(self, spec: dict[str, Any] | None = None) -> None:
        self.cluster = FakeCluster()
        self.clock = FixedClock()
        self.store = Store(seconds=self.clock.seconds)
        self.queue = WorkQueue[ObjectKey]()
        self.registry = CollectorRegistry()
        self.controller = Controller(
            self.cluster, self.store, self.queue, POLICY, self.clock, metrics=Metrics(self.registry)
        )
        self.spec = spec
        self.cluster.put(a_node())
        self.cluster.put(a_manifest(spec))

    async def pass_(self) -> Outcome:
        await relist(self.cluster, self.store)
        outcome = await self.controller.reconcile(KEY)
        assert outcome is not None
        return outcome

    async def settle(self, passes: int = 10) -> None:
        """Pass until a pass writes nothing."""
        for _ in range(passes):
            if not (await self.pass_()).actions:
                return
        raise AssertionError(f"still writing after {passes} passes: {self.cluster.calls[-5:]}")

    async def settle_inspected(self) -> None:
        """Settle with the model inspected."""
        await self.settle()
        self.end_inspection({"facts": FACTS})
        await self.settle()

    def inspection(self) -> str:
        return names.inspection(KEY, source_digest(an_owner(self.spec).spec.model))

    def end_inspection(self, output: dict[str, Any], *, ended: str = "Complete") -> None:
        """Let the Job end as its controller would: with a Pod, its log, and a condition."""
        name = self.inspection()
        job = self.cluster.one(JOB, name)
        condition = {"type": ended, "status": "True", "lastTransitionTime": at(0)}
        self.cluster.put({**job, "status": {"conditions": [condition]}})
        labels = {"batch.kubernetes.io/job-name": name}
        self.cluster.put(a_pod_manifest(f"{name}-x", component=names.INSPECTION, labels=labels))
        self.cluster.logs[(f"{name}-x", "inspect")] = json.dumps(output)

    def engine(self) -> dict[str, Any]:
        """The Deployment of the newest revision."""
        return [item for (kind, _), item in self.cluster.objects.items() if kind == "Deployment"][-1]

    def set_replicas(self, count: int) -> None:
        """Scale behind the operator's back."""
        live = self.engine()
        self.cluster.put({**live, "spec": {**live["spec"], "replicas": count}})

    def put_pod(self, status: dict[str, Any], name: str = "qwen-engine-1") -> None:
        """Let a pod of the newest revision be as `status` says."""
        revision = self.engine()["metadata"]["labels"][names.REVISION_LABEL]
        self.cluster.put(a_pod_manifest(name, status=status, labels={names.REVISION_LABEL: revision}))

    def delay_volume(self, why: str, *, of_inspection: bool = False) -> str:
        """Let a new pod wait for a volume, as its Events alone say; return their words."""
        name = "qwen-engine-1"
        scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": at(0)}
        container = {"name": "engine", "state": {"waiting": {"reason": "ContainerCreating"}}}
        status = {"phase": "Pending", "conditions": [scheduled], "containerStatuses": [container]}
        if of_inspection:
            name = f"{self.inspection()}-x"
            labels = {"batch.kubernetes.io/job-name": self.inspection()}
            self.cluster.put(a_pod_manifest(name, component=names.INSPECTION, labels=labels, status=status))
        else:
            self.put_pod(status, name)
        said = f'MountVolume.SetUp failed for volume "token" : {why}'
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{name}.1", "namespace": KEY.namespace},
            "involvedObject": {"uid": self.cluster.one(POD, name)["metadata"]["uid"]},
            "reason": "FailedMount",
            "message": said,
            "lastTimestamp": at(1),
        }
        self.cluster.put(event)
        return f"FailedMount: {said}"

    def remove_pod(self, name: str = "qwen-engine-1") -> None:
        self.cluster.remove(POD, ObjectKey(KEY.namespace, name))

    async def demand(self) -> None:
        claim = {claim_key("gateway-1"): claim_text(self.clock.now(), 15)}
        await self.cluster.renew_lease(ObjectKey(KEY.namespace, "qwen-demand"), claim)

    async def demand_ends(self) -> None:
        claim = {claim_key("gateway-1"): None}
        await self.cluster.renew_lease(ObjectKey(KEY.namespace, "qwen-demand"), claim)

    @property
    def replicas(self) -> int:
        return int(self.engine()["spec"]["replicas"])

    @property
    def conditions(self) -> dict[str, str]:
        status = self.cluster.one(LLM_DEPLOYMENT, KEY.name).get("status", {})
        return {item["type"]: f"{item['status']}/{item['reason']}" for item in status.get("conditions", ())}

    def message(self, kind: str) -> str:
        status = self.cluster.one(LLM_DEPLOYMENT, KEY.name)["status"]
        return next(str(item["message"]) for item in status["conditions"] if item["type"] == kind)

    def edit(self, spec: dict[str, Any]) -> None:
        """Change the spec as a user would."""
        live = self.cluster.one(LLM_DEPLOYMENT, KEY.name)
        self.spec = {**(self.spec or {}), **spec}
        self.cluster.put({**live, "spec": {**live["spec"], **spec}})

    def lease(self) -> dict[str, Any]:
        return self.cluster.one(LEASE, "qwen-demand")


class Running:
    """The controller's loop for the length of a block."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def __aenter__(self) -> None:
        self.task = asyncio.create_task(self.world.controller.run())

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.world.queue.close()


def failing_on(verb: str, kind: str) -> Callable[[str, str, str], None]:
    def fail(called: str, on: str, name: str) -> None:
        if (called, on) == (verb, kind):
            raise Retryable(f"{verb} {kind} {name}: timed out")

    return fail

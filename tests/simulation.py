"""A small cluster that acts by itself: Deployments make pods, pods get GPUs, engines start, answer or fail.

Every actor takes one step when it is told to, so that a test chooses the order of everything.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any, Final, TypeAlias

from prometheus_client import CollectorRegistry

from tertium.api.load import LoadReport, ModelLoad
from tertium.api.meta import Manifest, ObjectKey, format_time
from tertium.core import names
from tertium.core.decide import decide
from tertium.core.errors import Retryable
from tertium.core.load import Received, Reports
from tertium.core.observed import Owner
from tertium.core.plan import Plan
from tertium.kube.cluster import DEPLOYMENT, LEASE, LLM_DEPLOYMENT, POD, Kind
from tertium.kube.intercept import READS, InterceptedCluster
from tertium.runtime.controller import Controller
from tertium.runtime.metrics import Metrics
from tertium.runtime.observe import Observer
from tertium.runtime.relist import relist
from tertium.runtime.store import Store
from tests.factories import FACTS, KEY, NOW, POLICY, a_node
from tests.runtime.world import World

PRODUCTS: Final = ("GPU-24GB", "GPU-40GB")
BAD_ARGUMENT: Final = "--cannot-start"
FOREIGN: Final = ("qwen-engine-foreign", "somebody-elses")
Cut: TypeAlias = tuple[int, bool]
"""The write, counted from 0, whose answer is the first to be lost; and whether that one is still done."""


class Simulation(World):
    """One deployment in a cluster with GPUs of two products."""

    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__(spec)
        self.free: dict[str, int] = dict.fromkeys(PRODUCTS, 3)
        """GPUs of each product that others leave to us."""
        self.in_flight: int | None = 0
        """Requests the gateway reports; None: it reports nothing."""
        self.made = 0
        """Pods that were ever made."""
        self.cluster.put(a_node("node-2", product=PRODUCTS[1]))
        self._cut: Cut | None = None
        self._writes = 0
        self.restart()
        for name in FOREIGN:
            self.cluster.put(_foreign(name))
        self.foreign = [self._version_of(name) for name in FOREIGN]

    # What the operator does -------------------------------------------------------------------------

    async def operate(self, cut: Cut | None = None) -> bool:
        """Do one pass on what was seen last, perhaps cut short; return whether it wrote anything.

        What the pass is about to do is checked against what rollouts promise.
        """
        self._report()
        before = dict(self.counts)
        plan = await self._plan()
        calls = len(self.cluster.calls)
        self._cut, self._writes = cut, 0
        with suppress(Retryable):
            await self.controller.reconcile(KEY)
        self._cut = None
        if plan is not None:
            self._check(plan, before)
        return len(self.cluster.calls) > calls

    async def look(self) -> None:
        """Let the operator see the world as it is now."""
        await relist(self.cluster, self.store)

    def restart(self) -> None:
        """Replace the operator's process: all it remembered in memory is gone."""
        self.store = Store(seconds=self.clock.seconds)
        cluster = InterceptedCluster(self.cluster, self._gate)
        self.controller = Controller(
            cluster, self.store, self.queue, POLICY, self.clock, metrics=Metrics(CollectorRegistry())
        )

    @asynccontextmanager
    async def _gate(self, verb: str, kind: Kind) -> AsyncIterator[None]:
        """Let a pass be cut short at its so-many-th write: neither that nor a later one is answered."""
        at, reaches = self._cut or (sys.maxsize, False)
        nth = self._writes
        self._writes += verb not in READS
        cut = verb not in READS and nth >= at
        if cut and (nth > at or not reaches):
            raise Retryable("cut")
        yield
        if cut:
            raise Retryable("its answer was lost")

    async def _plan(self) -> Plan | None:
        """What the operator is about to decide; None while the model is not inspected."""
        manifest = self.store.owners.get(KEY)
        if manifest is None:
            return None
        owner = Owner.parse(manifest)
        now = self.clock.now()
        observed = await Observer(self.cluster, self.store, POLICY).observe(owner, now)
        return decide(owner, observed, POLICY, now)

    def _check(self, plan: Plan, before: Mapping[str, int]) -> None:
        """Raise AssertionError when the counts are what they must never be, whatever was cut."""
        wanted, counts = plan.scale.replicas, self.counts
        grown = {revision for revision, count in counts.items() if count > before.get(revision, 0)}
        assert not grown or sum(counts.values()) <= wanted + 1, (counts, before, plan.scale)
        spec = self.cluster.one(LLM_DEPLOYMENT, KEY.name)["spec"]
        if spec.get("rollout", {}).get("strategy") != "Recreate":
            ready = self.seen_ready()
            left = sum(min(count, counts.get(revision, 0)) for revision, count in ready.items())
            had = sum(min(count, before.get(revision, 0)) for revision, count in ready.items())
            assert left >= min(wanted, had), (counts, before, ready, plan.scale)
        assert [self._version_of(name) for name in FOREIGN] == self.foreign

    # What Kubernetes does ---------------------------------------------------------------------------

    def replicate(self) -> None:
        """Make and delete pods until each Deployment has what it asks for; the least useful go first."""
        asked = self.counts
        by_revision: dict[str, list[dict[str, Any]]] = {revision: [] for revision in asked}
        for pod in self.pods:
            if "deletionTimestamp" not in pod["metadata"]:
                by_revision.setdefault(_revision(pod), []).append(pod)
        for revision, pods in by_revision.items():
            pods.sort(key=_usefulness)
            for pod in pods[: max(0, len(pods) - asked.get(revision, 0))]:
                self._delete_pod(pod)
            for _ in range(asked.get(revision, 0) - len(pods)):
                self._make_pod(revision)

    def schedule(self) -> None:
        """Give pods nodes while there are free GPUs of their product; say so to the others."""
        used = dict.fromkeys(PRODUCTS, 0)
        for pod in self.pods:
            used[_product(pod)] += "nodeName" in pod["spec"]
        for pod in self.pods:
            product = _product(pod)
            if "nodeName" in pod["spec"]:
                continue
            if used[product] < self.free[product]:
                used[product] += 1
                pod["spec"]["nodeName"] = f"node-of-{product}"
                self._turn(pod, "PodScheduled", "True")
            elif not _is(pod, "PodScheduled", "False"):
                self._turn(pod, "PodScheduled", "False", reason="Unschedulable", message="no GPU is free")

    def run_engines(self) -> None:
        """Bring every pod one step further: start its container, then answer or fail; or finish."""
        for pod in self.pods:
            if "deletionTimestamp" in pod["metadata"]:
                self.cluster.remove(POD, ObjectKey.of(pod))
            elif "nodeName" in pod["spec"] and not pod["status"].get("containerStatuses"):
                self._set_engine(pod, {"running": {"startedAt": self._now}})
            elif "nodeName" in pod["spec"] and not _is(pod, "Ready", "True"):
                bad = BAD_ARGUMENT in pod["spec"]["containers"][0]["args"]
                if bad and "running" in pod["status"]["containerStatuses"][0]["state"]:
                    ended = {"exitCode": 1, "startedAt": self._now, "finishedAt": self._now, "message": "bad"}
                    self._set_engine(pod, {"terminated": ended})
                elif not bad:
                    self._turn(pod, "Ready", "True")

    @property
    def counts(self) -> dict[str, int]:
        """Replicas asked for, by revision."""
        return {
            _revision(item): item["spec"]["replicas"]
            for (kind, key), item in self.cluster.objects.items()
            if kind == "Deployment" and key.name not in FOREIGN
        }

    @property
    def pods(self) -> list[dict[str, Any]]:
        """Engine pods, oldest first."""
        return [
            item
            for (kind, _), item in list(self.cluster.objects.items())
            if kind == "Pod" and item["metadata"]["labels"][names.COMPONENT] == "engine"
        ]

    def ready(self) -> dict[str, int]:
        """Pods that answer, by revision."""
        return _ready(self.pods)

    def seen_ready(self) -> dict[str, int]:
        """The same as the operator saw it last."""
        return _ready([item for (kind, _), item in self.store.children(KEY).items() if kind == "Pod"])

    @property
    def _now(self) -> str:
        return format_time(self.clock.now())

    def _make_pod(self, revision: str) -> None:
        self.made += 1
        engine = next(
            item
            for (kind, _), item in self.cluster.objects.items()
            if kind == "Deployment"
            and item["metadata"].get("labels", {}).get(names.REVISION_LABEL) == revision
        )
        template = engine["spec"]["template"]
        name = f"{engine['metadata']['name']}-{self.made:03}"
        metadata = {
            **template["metadata"],
            "name": name,
            "namespace": KEY.namespace,
            "creationTimestamp": self._now,
        }
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        self.cluster.put({**pod, "status": {"phase": "Pending", "podIP": f"10.0.0.{self.made}"}})

    def _delete_pod(self, pod: dict[str, Any]) -> None:
        if "nodeName" not in pod["spec"]:
            self.cluster.remove(POD, ObjectKey.of(pod))
            return
        ends = format_time(self.clock.now())
        self.cluster.put({**pod, "metadata": {**pod["metadata"], "deletionTimestamp": ends}})

    def _turn(self, pod: dict[str, Any], kind: str, status: str, **more: str) -> None:
        others = [item for item in pod["status"].get("conditions", ()) if item["type"] != kind]
        condition = {"type": kind, "status": status, "lastTransitionTime": self._now, **more}
        self.cluster.put({**pod, "status": {**pod["status"], "conditions": [*others, condition]}})

    def _set_engine(self, pod: dict[str, Any], state: dict[str, Any]) -> None:
        engine = {"name": names.ENGINE_CONTAINER, "state": state}
        self.cluster.put({**pod, "status": {**pod["status"], "containerStatuses": [engine]}})

    def _report(self) -> None:
        self.store.reports = None
        if self.in_flight is not None:
            self.store.reports = reports(self.in_flight, self.clock.now())

    def _version_of(self, name: str) -> str:
        key = ObjectKey(KEY.namespace, name)
        return str(self.cluster.objects[("Deployment", key)]["metadata"]["resourceVersion"])

    # What others break ------------------------------------------------------------------------------

    def remove(self, kind: Kind) -> None:
        """Delete the children of a kind, as somebody with a broom would."""
        for found, key in list(self.cluster.objects):
            if found == kind.kind and key.name not in FOREIGN:
                self.cluster.remove(kind, key)

    def stop_engines(self) -> None:
        """Scale every revision to zero behind the operator's back."""
        for (kind, key), item in list(self.cluster.objects.items()):
            if kind == DEPLOYMENT.kind and key.name not in FOREIGN:
                self.cluster.put({**item, "spec": {**item["spec"], "replicas": 0}})

    # What people do ---------------------------------------------------------------------------------

    async def demand(self) -> None:
        """State demand, where there is a Lease to do it by."""
        if (LEASE.kind, ObjectKey(KEY.namespace, "qwen-demand")) in self.cluster.objects:
            await super().demand()

    async def begin(self) -> None:
        """Have the model inspected."""
        await self.settle()
        self.end_inspection({"facts": FACTS})
        await self.settle()

    async def settle_all(self, rounds: int = 60) -> None:
        """Let everybody act, and time pass, until nothing moves any more."""
        for _ in range(rounds):
            before = {key: item["metadata"]["resourceVersion"] for key, item in self.cluster.objects.items()}
            await self.look()
            await self.operate()
            self.replicate()
            self.schedule()
            self.run_engines()
            after = {key: item["metadata"]["resourceVersion"] for key, item in self.cluster.objects.items()}
            if before == after:
                return
            self.clock.advance(1)
        raise AssertionError(f"still moving: {self.counts}, {self.conditions}, {self.cluster.calls[-6:]}")


def reports(in_flight: int, now: datetime) -> Reports:
    """What one gateway pod says."""
    load = ModelLoad(in_flight=in_flight, held=0, last_finished=NOW)
    report = LoadReport(since=NOW, models={str(KEY): load})
    return Reports(by_pod={"gateway-1": Received(report=report, at=now)}, expected=1)


def _foreign(name: str) -> Manifest:
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "mine"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": KEY.namespace, "labels": names.labels(KEY, "engine")},
        "spec": {"replicas": 5, "template": template},
    }


def _ready(pods: list[Any]) -> dict[str, int]:
    found: dict[str, int] = {}
    for pod in pods:
        if _is(pod, "Ready", "True") and "deletionTimestamp" not in pod["metadata"]:
            found[_revision(pod)] = found.get(_revision(pod), 0) + 1
    return found


def _revision(item: Manifest) -> str:
    return str(item["metadata"]["labels"].get(names.REVISION_LABEL, names.UNVERSIONED))


def _product(pod: Manifest) -> str:
    return str(pod["spec"]["nodeSelector"]["nvidia.com/gpu.product"])


def _is(pod: Manifest, kind: str, status: str) -> bool:
    conditions = (pod.get("status") or {}).get("conditions", ())
    return any(item["type"] == kind and item["status"] == status for item in conditions)


def _usefulness(pod: Manifest) -> tuple[bool, bool, int, str]:
    cost = (pod["metadata"].get("annotations") or {}).get(names.DELETION_COST_ANNOTATION, "0")
    return ("nodeName" in pod["spec"], _is(pod, "Ready", "True"), int(cost), pod["metadata"]["name"])

"""Every metric of the operator: names, labels, what they are counted from. It must not know who reads them.

Labels are bounded: by the code, or by the deployments that exist. Series of a deployment go with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from enum import StrEnum
from functools import partial

from prometheus_client import CollectorRegistry, Gauge, Histogram
from prometheus_client import Counter as CounterMetric

from tertium.api.meta import ObjectKey
from tertium.core.errors import Retryable, TertiumError
from tertium.core.lifecycle import EnginePod
from tertium.core.observed import Observed
from tertium.kube.cluster import Kind
from tertium.runtime.queue import Lane, WorkQueue

_RECONCILE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15)
_WAKE_BUCKETS = (1, 2.5, 5, 10, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1200)


class Result(StrEnum):
    """What a reconcile came to."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    REFUSED = "refused"
    GONE = "gone"
    REPEATED = "repeated"
    FAILED = "failed"


class Metrics:
    """Counts into `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._reconciles = Histogram(
            "tertium_reconcile_seconds",
            "How long reconciles took, by what they came to.",
            ["result"],
            registry=registry,
            buckets=_RECONCILE_BUCKETS,
        )
        self._wakes = Histogram(
            "tertium_wake_seconds",
            "From demand for a deployment without a ready replica to its first ready replica.",
            registry=registry,
            buckets=_WAKE_BUCKETS,
        )
        self._replicas = _PerDeployment(
            "tertium_replicas",
            "Replicas of a deployment by state; a deployment at zero has no series.",
            "state",
            registry,
        )
        self._drift = _PerDeployment(
            "tertium_plan_drift_percent",
            "How much more of a GPU's budget the engine measured than was planned, by part of the memory.",
            "part",
            registry,
        )
        self._requests = CounterMetric(
            "tertium_api_requests",
            "Calls to the API server, watches left out, by what came of them.",
            ["verb", "kind", "outcome"],
            registry=registry,
        )
        self._depth = Gauge(
            "tertium_queue_depth", "Deployments that wait for a worker.", ["lane"], registry=registry
        )
        self._leader = Gauge(
            "tertium_leader", "1 while this operator is the one that writes.", registry=registry
        )
        self._watch_age = Gauge(
            "tertium_watch_age_seconds",
            "Since when the watch of a kind has brought nothing, not even a bookmark.",
            ["kind"],
            registry=registry,
        )
        self._asleep_since: dict[ObjectKey, datetime] = {}

    def follow(
        self,
        queue: WorkQueue[ObjectKey],
        *,
        leading: Callable[[], bool],
        watch_ages: Callable[[], Mapping[str, float]],
        kinds: tuple[Kind, ...],
    ) -> None:
        """Have the gauges read these whenever they are asked for."""
        for lane in Lane:
            self._depth.labels(lane.name.lower()).set_function(partial(queue.depth, lane))
        self._leader.set_function(leading)
        for kind in kinds:
            self._watch_age.labels(kind.kind).set_function(partial(_entry, watch_ages, kind.plural))

    def reconciled(self, result: Result, seconds: float) -> None:
        """Count a reconcile."""
        self._reconciles.labels(result.value).observe(seconds)

    def saw(self, key: ObjectKey, observed: Observed, now: datetime) -> None:
        """Note the replicas of a deployment, and whether somebody waits for the first of them.

        | wanted | ready replica | result                                    |
        | any    | yes           | the wake that was being timed has ended   |
        | yes    | no            | it is timed from the first such look      |
        | no     | no            | nobody waits any more: none is timed      |
        """
        if observed.ready_pods:
            began = self._asleep_since.pop(key, None)
            if began is not None:
                self._wakes.observe((now - began).total_seconds())
        elif observed.wanted(now):
            self._asleep_since.setdefault(key, now)
        else:
            self._asleep_since.pop(key, None)
        self._replicas.show(key, Counter(_state(pod) for pod in observed.pods))

    def planned(self, key: ObjectKey, drift: Mapping[str, int]) -> None:
        """Note how far the plan of a deployment is from what its engine measured."""
        self._drift.show(key, drift)

    def forget(self, key: ObjectKey) -> None:
        """Drop the series of a deployment that is gone."""
        self._asleep_since.pop(key, None)
        self._replicas.show(key, {})
        self._drift.show(key, {})

    def forget_all(self) -> None:
        """Drop the series of every deployment: another operator shows them now."""
        for key in self._replicas.keys() | self._drift.keys() | self._asleep_since.keys():
            self.forget(key)

    @asynccontextmanager
    async def gate(self, verb: str, kind: Kind) -> AsyncIterator[None]:
        """Count a call to the API server."""
        outcome = "answered"
        try:
            yield
        except TertiumError as error:
            outcome = "passing fault" if isinstance(error, Retryable) else "refused"
            raise
        finally:
            self._requests.labels(verb, kind.kind, outcome).inc()


class _PerDeployment:
    """A gauge of every deployment with one more label. Series that are not shown again are removed."""

    def __init__(self, name: str, text: str, label: str, registry: CollectorRegistry) -> None:
        self._gauge = Gauge(name, text, ["namespace", "deployment", label], registry=registry)
        self._shown: dict[ObjectKey, frozenset[str]] = {}

    def keys(self) -> set[ObjectKey]:
        return set(self._shown)

    def show(self, key: ObjectKey, values: Mapping[str, int]) -> None:
        for gone in self._shown.pop(key, frozenset()) - values.keys():
            self._gauge.remove(key.namespace, key.name, gone)
        for label, value in values.items():
            self._gauge.labels(key.namespace, key.name, label).set(value)
        if values:
            self._shown[key] = frozenset(values)


def _entry(read: Callable[[], Mapping[str, float]], name: str) -> float:
    return read()[name]


def _state(pod: EnginePod) -> str:
    if pod.terminating:
        return "terminating"
    if pod.ready is not None:
        return "ready"
    return "unscheduled" if pod.scheduled is None else "starting"

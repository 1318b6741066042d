"""What is counted, under which names, and that series of a deployment go with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from tertium.api.conditions import Reason
from tertium.api.meta import ObjectKey
from tertium.core.errors import Retryable, Terminal
from tertium.kube.cluster import LEASE, LLM_DEPLOYMENT, POD
from tertium.runtime.metrics import Metrics, Result
from tertium.runtime.queue import Lane, WorkQueue
from tests.factories import KEY, NOW, a_pod, observed, seconds


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    return Metrics(registry)


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, labels)


def series(registry: CollectorRegistry, name: str) -> Iterator[dict[str, Any]]:
    return (
        sample.labels for family in registry.collect() for sample in family.samples if sample.name == name
    )


def test_replicas_are_shown_by_state_and_a_deployment_at_zero_has_no_series(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    unscheduled = replace(a_pod("d"), scheduled=None)
    pods = (a_pod("a", ready=NOW), a_pod("b", ready=NOW), a_pod("c", terminating=True), unscheduled)
    metrics.saw(KEY, observed(pods=pods), NOW)
    names = {"namespace": "team-a", "deployment": "qwen"}
    assert value(registry, "tertium_replicas", **names, state="ready") == 2
    assert value(registry, "tertium_replicas", **names, state="terminating") == 1
    assert value(registry, "tertium_replicas", **names, state="unscheduled") == 1
    metrics.saw(KEY, observed(pods=(a_pod("d"),)), NOW)
    assert list(series(registry, "tertium_replicas")) == [{**names, "state": "starting"}]
    metrics.saw(KEY, observed(), NOW)
    assert list(series(registry, "tertium_replicas")) == []


def test_series_of_a_deployment_go_with_it(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.saw(KEY, observed(pods=(a_pod(ready=NOW),)), NOW)
    metrics.forget(KEY)
    metrics.forget(KEY)
    assert list(series(registry, "tertium_replicas")) == []


def test_an_operator_that_no_longer_leads_shows_no_deployment(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    metrics.saw(KEY, observed(pods=(a_pod(ready=NOW),)), NOW)
    metrics.planned(ObjectKey("team-a", "other"), {"weights": 7})
    assert list(series(registry, "tertium_plan_drift_percent")) != []
    metrics.forget_all()
    for name in ("tertium_replicas", "tertium_plan_drift_percent"):
        assert list(series(registry, name)) == []


def test_a_wake_is_timed_from_the_first_demand_to_the_first_ready_replica(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    until = NOW + seconds(60)
    metrics.saw(KEY, observed(demand_until=until), NOW)
    metrics.saw(KEY, observed(demand_until=until, pods=(a_pod(),)), NOW + seconds(3))
    metrics.saw(KEY, observed(demand_until=until, pods=(a_pod(ready=NOW),)), NOW + seconds(12))
    metrics.saw(KEY, observed(demand_until=until, pods=(a_pod(ready=NOW),)), NOW + seconds(13))
    assert value(registry, "tertium_wake_seconds_count") == 1
    assert value(registry, "tertium_wake_seconds_sum") == 12


def test_a_wake_that_nobody_waits_for_any_more_is_not_timed(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    metrics.saw(KEY, observed(demand_until=NOW + seconds(15)), NOW)
    metrics.saw(KEY, observed(demand_until=NOW + seconds(15)), NOW + seconds(20))
    metrics.saw(KEY, observed(pods=(a_pod(ready=NOW),)), NOW + seconds(30))
    assert value(registry, "tertium_wake_seconds_count") == 0


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        pytest.param(None, "answered", id="an answer"),
        pytest.param(Retryable("busy"), "passing fault", id="a fault that passes"),
        pytest.param(Terminal(Reason.INVALID, "bad"), "refused", id="a refusal"),
    ],
)
async def test_calls_are_counted_by_what_came_of_them(
    metrics: Metrics, registry: CollectorRegistry, error: Exception | None, outcome: str
) -> None:
    async def call() -> None:
        async with metrics.gate("apply", LEASE):
            if error is not None:
                raise error

    if error is None:
        await call()
    else:
        with pytest.raises(type(error)):
            await call()
    labels = {"verb": "apply", "kind": "Lease", "outcome": outcome}
    assert value(registry, "tertium_api_requests_total", **labels) == 1


def test_reconciles_are_timed_by_what_they_came_to(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.reconciled(Result.CHANGED, 0.02)
    assert value(registry, "tertium_reconcile_seconds_sum", result="changed") == 0.02


async def test_gauges_show_what_is_when_they_are_asked(metrics: Metrics, registry: CollectorRegistry) -> None:
    queue, leading, ages = WorkQueue[ObjectKey](), [False], {"pods": 5.0, "llmdeployments": 7.0}
    metrics.follow(queue, leading=lambda: leading[0], watch_ages=lambda: ages, kinds=(POD, LLM_DEPLOYMENT))
    queue.add(KEY, Lane.RESYNC)
    assert value(registry, "tertium_queue_depth", lane="resync") == 1
    assert value(registry, "tertium_queue_depth", lane="now") == 0
    assert value(registry, "tertium_leader") == 0
    leading[0] = True
    assert value(registry, "tertium_leader") == 1
    assert value(registry, "tertium_watch_age_seconds", kind="Pod") == 5
    assert value(registry, "tertium_watch_age_seconds", kind="LLMDeployment") == 7

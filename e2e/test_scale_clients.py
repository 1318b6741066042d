"""What clients that scale things do, and see: kubectl scale, kubectl wait, a HorizontalPodAutoscaler."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from e2e.doubles import applied, double
from e2e.stack import IDLE, Sample, Stack
from e2e.waiting import until

pytestmark = pytest.mark.e2e

IDLE_SECONDS: Final = 3


@pytest.fixture(scope="module")
def sample(stack: Stack, namespace: str) -> Iterator[Sample]:
    """A deployment, asleep. The tests of this file take it from there in order."""
    more: dict[str, Any] = {
        "capacity": {},
        "engine": double(DOUBLE_BOOT_SECONDS=0),
        "scaling": {"maxReplicas": 4, "idleSeconds": IDLE_SECONDS},
    }
    with applied(stack, "scaled", namespace, **more) as found:
        kubectl(found, "wait", "llmd", found.name, "--for=condition=Ready", "--timeout=60s")
        yield found


def kubectl(sample: Sample, *words: str) -> str:
    return sample.cluster.kubectl("-n", sample.namespace, *words)


def ready_pods(sample: Sample) -> list[str]:
    return [pod["metadata"]["name"] for pod in sample.pods() if ready(pod)["status"] == "True"]


def ready(pod: dict[str, Any]) -> dict[str, str]:
    conditions = pod["status"].get("conditions", [])
    return next((c for c in conditions if c["type"] == "Ready"), {"status": "Unknown"})


def ready_since(pod: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(ready(pod)["lastTransitionTime"])


def hpa_reasons(sample: Sample) -> list[str]:
    conditions = json.loads(kubectl(sample, "get", "hpa", "hpa", "-o", "json"))["status"].get(
        "conditions", []
    )
    return [condition["reason"] for condition in conditions]


def until_ready(sample: Sample, count: int) -> None:
    until(f"{count} ready replicas", lambda: len(ready_pods(sample)) == count, seconds=60)
    until(f"{count} in the status", lambda: sample.get()["status"]["readyReplicas"] == count, seconds=10)


def test_kubectl_scale_pins_the_count(sample: Sample) -> None:
    kubectl(sample, "scale", "llmd", sample.name, "--replicas=2")
    until_ready(sample, 2)


def test_the_scale_subresource_counts_and_selects_the_replicas(sample: Sample) -> None:
    text = kubectl(sample, "get", "llmd", sample.name, "--subresource=scale", "-o", "json")
    status = json.loads(text)["status"]
    assert status["replicas"] == 2
    selected = json.loads(kubectl(sample, "get", "pods", "-l", status["selector"], "-o", "json"))["items"]
    assert sorted(pod["metadata"]["name"] for pod in selected) == sorted(ready_pods(sample))


def test_a_pinned_count_outlives_idleness(sample: Sample) -> None:
    since = max(ready_since(pod) for pod in sample.pods())
    until(
        "the idle time", lambda: datetime.now(UTC) > since + timedelta(seconds=IDLE_SECONDS + 2), seconds=60
    )
    assert len(ready_pods(sample)) == 2


def test_an_autoscaler_raises_the_count_to_its_minimum(sample: Sample) -> None:
    kubectl(sample, "autoscale", "llmd", sample.name, "--name=hpa", "--min=3", "--max=3", "--cpu=80%")
    until("the autoscaler's minimum", lambda: sample.get()["spec"].get("replicas") == 3, seconds=30)
    until_ready(sample, 3)


def test_an_autoscaler_lowers_the_count_to_its_maximum(sample: Sample) -> None:
    lower = {"spec": {"minReplicas": 1, "maxReplicas": 1}}
    kubectl(sample, "patch", "hpa", "hpa", "--type=merge", "-p", json.dumps(lower))
    until("the autoscaler's maximum", lambda: sample.get()["spec"].get("replicas") == 1, seconds=30)
    until_ready(sample, 1)


def test_without_a_pinned_count_an_autoscaler_rests_and_tertium_scales(stack: Stack, sample: Sample) -> None:
    unpin = [{"op": "remove", "path": "/spec/replicas"}]
    kubectl(sample, "patch", "llmd", sample.name, "--type=json", "-p", json.dumps(unpin))
    until("zero replicas, for idleness", lambda: sample.pods() == [], seconds=IDLE_SECONDS + 30)
    assert sample.condition("Active")["reason"] == IDLE
    assert "replicas" not in sample.get()["spec"]
    until("the autoscaler's words", lambda: "FailedGetScale" in hpa_reasons(sample), seconds=30)
    assert stack.caller.chat(sample.model).status == 200

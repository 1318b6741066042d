"""Two operators: one leads, the other takes over; what they show of themselves; and `tertium explain`.

The tests share one deployment of the engine double, and run in order.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from e2e.doubles import double
from e2e.stack import IDLE, SYSTEM, Sample, Stack
from e2e.waiting import until

pytestmark = pytest.mark.e2e

BOOT_SECONDS: Final = 5
LEASE: Final = "tertium-operator"


@pytest.fixture(scope="module")
def sample(stack: Stack, namespace: str) -> Iterator[Sample]:
    """A sleeping deployment whose engine takes a few seconds to start."""
    engine = double(DOUBLE_BOOT_SECONDS=BOOT_SECONDS)
    made = stack.apply_sample("tiny-llama", namespace, idle_seconds=5, engine=engine)
    made.wait_condition("Ready", "True", seconds=90)
    yield made
    made.delete()


def read(stack: Stack, namespace: str, *what: str) -> dict[str, Any]:
    return dict(json.loads(stack.cluster.kubectl("-n", namespace, "get", *what, "-o", "json")))


def operators(stack: Stack) -> list[str]:
    """The pods that run and are ready."""
    selector = "app.kubernetes.io/component=operator"
    pods = json.loads(stack.cluster.kubectl("-n", SYSTEM, "get", "pods", "-l", selector, "-o", "json"))[
        "items"
    ]
    return [
        pod["metadata"]["name"]
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"] and _is_ready(pod.get("status", {}))
    ]


def _is_ready(status: dict[str, Any]) -> bool:
    return {"Ready": "True"}.items() <= {c["type"]: c["status"] for c in status.get("conditions", ())}.items()


def leader(stack: Stack) -> str:
    """The holder of the Lease; empty while there is none."""
    return str(read(stack, SYSTEM, "lease", LEASE)["spec"].get("holderIdentity", ""))


def two_of_them(stack: Stack) -> str:
    """Wait until there are two and one of them leads; return that one."""

    def probe() -> str | None:
        pods, holder = operators(stack), leader(stack)
        return holder if len(pods) == 2 and holder in pods else None

    return until("two operators of which one leads", probe, seconds=90)


def metrics(stack: Stack, pod: str) -> dict[str, float]:
    """What a pod serves at /metrics, by the name and labels of the series."""
    text = stack.cluster.kubectl("get", "--raw", f"/api/v1/namespaces/{SYSTEM}/pods/{pod}:8081/proxy/metrics")
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {series: float(value) for series, _, value in lines}


def asleep(sample: Sample) -> None:
    until("zero replicas", lambda: sample.pods(terminating=True) == [], seconds=90)
    sample.wait_condition("Active", "False", seconds=20)
    assert sample.condition("Active")["reason"] == IDLE


def test_of_two_operators_one_leads(stack: Stack, sample: Sample) -> None:
    first = two_of_them(stack)
    leads = {pod: metrics(stack, pod)["tertium_leader"] for pod in operators(stack)}
    assert leads == {pod: float(pod == first) for pod in leads}


def test_a_leader_that_is_told_to_stop_hands_over_at_once(stack: Stack, sample: Sample) -> None:
    first = two_of_them(stack)
    stack.cluster.kubectl("-n", SYSTEM, "delete", "pod", first, "--wait=false")
    begun = time.monotonic()
    # Sooner than the Lease would end by itself.
    until("another leader", lambda: leader(stack) not in ("", first), seconds=12, every=0.1)
    print(f"handed over after {time.monotonic() - begun:.1f} s")


def test_a_wake_goes_on_under_another_leader_when_the_first_is_killed(stack: Stack, sample: Sample) -> None:
    first = two_of_them(stack)
    asleep(sample)
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(stack.caller.chat, sample.model)
        until("a replica that starts", lambda: sample.pods() != [], seconds=20, every=0.1)
        stack.cluster.kubectl("-n", SYSTEM, "delete", "pod", first, "--grace-period=0", "--force")
        answer = held.result()
    assert answer.status == 200, answer.body
    # The rest is the new leader's work: to see that it serves, and later that it is idle.
    sample.wait_condition("Active", "True", seconds=40)
    assert two_of_them(stack) != first
    asleep(sample)


def test_what_was_done_is_one_line_each_and_counted(stack: Stack, sample: Sample) -> None:
    assert stack.caller.chat(sample.model).status == 200
    sample.wait_condition("Active", "True", seconds=20)
    pod = two_of_them(stack)
    text = stack.cluster.kubectl("-n", SYSTEM, "logs", pod)
    lines = [json.loads(line) for line in text.splitlines() if '"reconciled"' in line]
    woken = [line for line in lines if line["key"] == sample.model and line["rule"] == "wake_on_demand"]
    assert re.fullmatch(r"scaled Deployment \S+ 0 -> 1", woken[-1]["actions"][0])
    assert woken[-1].keys() >= {"generation", "why", "result", "ms", "requeue", "begun", "applied"}

    seen = metrics(stack, pod)
    labels = f'deployment="{sample.name}",namespace="{sample.namespace}",state="ready"'
    assert seen[f"tertium_replicas{{{labels}}}"] == 1
    assert seen["tertium_wake_seconds_count"] >= 1
    assert seen['tertium_reconcile_seconds_count{result="changed"}'] >= 1
    assert (
        seen['tertium_api_requests_total{kind="LLMDeployment",outcome="answered",verb="apply_status"}'] >= 1
    )
    ages = {series: age for series, age in seen.items() if series.startswith("tertium_watch_age_seconds")}
    assert len(ages) == 8
    assert all(age < 100 for age in ages.values()), ages


def test_what_happened_is_told_as_events(stack: Stack, sample: Sample) -> None:
    items = read(stack, sample.namespace, "events")["items"]
    reasons = [event["reason"] for event in items if event["involvedObject"]["kind"] == "LLMDeployment"]
    assert {"Woke", "Slept"} <= set(reasons)
    described = stack.cluster.kubectl("-n", sample.namespace, "describe", "llmd", sample.name)
    assert "A replica answers requests" in described


def tertium(stack: Stack, *words: str) -> str:
    environment = os.environ | {"KUBECONFIG": str(stack.cluster.kubeconfig)}
    command = [sys.executable, "-m", "tertium", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def versions(stack: Stack, sample: Sample) -> dict[str, str]:
    """The version of everything in the deployment's namespace that a decision could change."""
    kinds = "llmd,deployments,services,leases,configmaps,jobs,events"
    items = json.loads(stack.cluster.kubectl("-n", sample.namespace, "get", kinds, "-o", "json"))["items"]
    return {
        f"{item['kind']}/{item['metadata']['name']}": item["metadata"]["resourceVersion"] for item in items
    }


def test_a_decision_is_explained_without_writing(stack: Stack, sample: Sample, tmp_path: Path) -> None:
    asleep(sample)
    before = versions(stack, sample)
    file = tmp_path / "snapshot.yaml"
    text = tertium(stack, "explain", sample.name, "-n", sample.namespace, "--save", str(file))
    scaling = sample.get()["status"]["scaling"]
    assert f"decision   {scaling['desired']} replicas: {scaling['why']}\n" in text
    assert text.endswith("nothing: all is as it should be\n")
    assert "DOUBLE_BOOT_SECONDS" in file.read_text()
    assert f"value: '{BOOT_SECONDS}'" not in file.read_text()

    manifest = sample.get()
    manifest["spec"]["scaling"]["minReplicas"] = 1
    changed = tmp_path / "changed.yaml"
    changed.write_text(yaml.safe_dump(manifest))
    text = tertium(stack, "explain", "-f", str(changed))
    assert re.search(r"would do\n  scaled Deployment \S+ 0 -> 1\n  wrote status", text), text
    assert versions(stack, sample) == before
    assert sample.pods() == []

"""API keys on a real cluster: made by kubectl, checked by both gateway pods, gone when they are deleted."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pytest
import yaml

from e2e.caller import Caller
from e2e.cluster import Cluster
from e2e.doubles import double
from e2e.stack import SYSTEM, Sample, Stack, install
from e2e.waiting import until

pytestmark = pytest.mark.e2e

OTHER = "keys-other"


@pytest.fixture(scope="module")
def locked(cluster: Cluster, stack: Stack) -> Iterator[Stack]:
    """Tertium whose callers need a key; afterwards they need none again."""
    yield install(cluster, "gateway.auth.mode=APIKey")
    install(cluster)


@pytest.fixture(scope="module")
def model(locked: Stack, namespace: str) -> Iterator[Sample]:
    """A deployment, asleep, whose answers take a second."""
    engine = double(DOUBLE_TTFT_MILLIS=20, DOUBLE_TOKENS_PER_SECOND=32)
    sample = locked.apply_sample("smollm2", namespace, idle_seconds=600, engine=engine)
    sample.wait_condition("Ready", "True", seconds=60)
    yield sample
    sample.delete()


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Somebody with a key."""

    name: str
    namespace: str
    caller: Caller

    @property
    def identity(self) -> str:
        return f"{self.namespace}/{self.name}"


def make(stack: Stack, name: str, namespace: str, *options: str) -> Holder:
    """Make a key as a user does."""
    command = [sys.executable, "-m", "tertium", "key", "create", name, "-n", namespace, *options]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    stack.cluster.kubectl("apply", "--validate=strict", "-f", "-", input=made.stdout)
    key = made.stderr.rpartition(" ")[2].strip()
    return Holder(name=name, namespace=namespace, caller=replace(stack.caller, key=key))


def a_holder(stack: Stack, name: str, namespace: str, *options: str) -> Holder:
    """Make a key, and wait until both gateway pods know it."""
    holder = make(stack, name, namespace, *options)
    until("a key that works", lambda: known_everywhere(holder.caller), seconds=10, every=0.1)
    return holder


def known_everywhere(caller: Caller) -> bool:
    """Whether every pod knows the key; the Service picks one anew for each connection."""
    return all(caller.get("/v1/models").status == 200 for _ in range(12))


def test_without_a_key_nobody_gets_in(locked: Stack, model: Sample) -> None:
    for caller in (locked.caller, replace(locked.caller, key="sk-tertium-of-somebody-else-entirely")):
        answer = caller.chat(model.model)
        assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
    assert model.pods() == [], "nobody without a key wakes a model"


def test_a_key_wakes_a_model_and_is_answered(locked: Stack, model: Sample) -> None:
    holder = a_holder(locked, "waker", model.namespace)
    answer = holder.caller.chat(model.model)
    assert answer.status == 200, answer.body
    with holder.caller.stream(model.name) as pieces:
        assert "".join(pieces)


def test_a_key_of_another_namespace_reaches_nothing_here(locked: Stack, model: Sample) -> None:
    locked.cluster.kubectl("create", "namespace", OTHER)
    try:
        stranger = a_holder(locked, "stranger", OTHER, "--allow", "*/*")
        answer = stranger.caller.chat(model.model)
        assert (answer.status, answer.error["code"]) == (403, "model_not_allowed")
        assert stranger.caller.get("/v1/models").body["data"] == []
        trusted = a_holder(locked, "trusted", SYSTEM, "--allow", f"{model.namespace}/*")
        assert trusted.caller.chat(model.model).status == 200
        locked.cluster.kubectl("-n", SYSTEM, "delete", "apikey", "trusted")
    finally:
        locked.cluster.kubectl("delete", "namespace", OTHER, "--wait=false")


def test_the_limits_hold_over_both_gateway_pods(locked: Stack, model: Sample) -> None:
    seldom = make(locked, "seldom", model.namespace, "--requests-per-minute", "30")
    time.sleep(2)  # to ask whether both pods know it would use it up
    begun = time.monotonic()
    statuses = Counter(seldom.caller.get("/v1/models").status for _ in range(100))
    refilled = (time.monotonic() - begun) / 2
    assert set(statuses) == {200, 429}
    assert 30 <= statuses[200] <= 30 + refilled
    few = a_holder(locked, "few", model.namespace, "--max-concurrent-requests", "4")
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda _: few.caller.chat(model.model), range(24)))
    assert Counter(answer.status for answer in answers) == {200: 4, 429: 20}
    refused = next(answer for answer in answers if answer.status == 429)
    assert (refused.error["code"], refused.headers["retry-after"]) == ("concurrency_limit_exceeded", "1")
    assert few.caller.chat(model.model).status == 200, "places are free again"


def test_a_deleted_key_stops_working_within_two_seconds(locked: Stack, model: Sample) -> None:
    holder = a_holder(locked, "leaver", model.namespace)
    begun = time.monotonic()
    last = begun
    locked.cluster.kubectl("-n", model.namespace, "delete", "apikey", "leaver")
    while time.monotonic() < begun + 3:
        if holder.caller.get("/v1/models").status != 401:
            last = time.monotonic()
    sys.stdout.write(f"accepted until {last - begun:.3f} s after kubectl delete was started\n")
    assert last - begun < 2


def test_no_key_is_in_a_log_or_an_object(locked: Stack, model: Sample) -> None:
    holder = a_holder(locked, "secretive", model.namespace)
    assert holder.caller.chat(model.model).status == 200
    logged = until("the request in a log", lambda: by(locked, holder), seconds=30)
    assert {request["key"] for request in logged} == {holder.identity}
    kubectl = locked.cluster.kubectl
    texts = [kubectl("get", kind, "-A", "-o", "json") for kind in ("apikeys,llmd,pods,configmaps", "events")]
    texts += [kubectl("get", "--raw", "/api/v1/secrets")]
    for namespace in (SYSTEM, model.namespace):
        for pod in kubectl("-n", namespace, "get", "pods", "-o", "name").split():
            texts.append(kubectl("-n", namespace, "logs", pod, "--all-containers", "--tail=-1"))
    assert any(holder.identity in text for text in texts)
    assert not [text[:200] for text in texts if holder.caller.key in text]


def by(stack: Stack, holder: Holder) -> list[dict[str, Any]] | None:
    """What Envoy logged of this holder's requests; it writes its log every ten seconds."""
    lines = [line for line in stack.logs("gateway", "envoy") if line.get("key") == holder.identity]
    return lines or None


def test_whoever_may_edit_a_namespace_may_make_its_keys(locked: Stack, namespace: str) -> None:
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "editor", "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "editor"}],
    }
    locked.cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump(binding))

    def may(where: str) -> bool:
        question = ("auth", "can-i", "create", "apikeys.tertium.dev", "-n", where, "--as=editor")
        try:
            return locked.cluster.kubectl(*question).strip() == "yes"
        except subprocess.CalledProcessError:
            return False

    until("an editor's right", lambda: may(namespace), seconds=20)
    assert not may(SYSTEM)

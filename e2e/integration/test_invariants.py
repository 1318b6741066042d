"""What always holds, seen on a real API server with the operator as a process."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from e2e.fleet.api import BATCH, CORE, LEASES, Watcher, path_of
from e2e.fleet.audit import Call, tally
from e2e.fleet.gateway import FakeGateway
from e2e.fleet.model import CHILDREN, Model, wait_right
from e2e.fleet.operator import OperatorProcess
from e2e.fleet.plane import SOURCE, SYSTEM, Plane
from e2e.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("gateway")]

# How long a gateway's last report is believed.
FRESH_SECONDS = 5


def writes(calls: list[Call]) -> list[Call]:
    """The writes about deployments; a leader's Lease is renewed by the clock."""
    return [call for call in calls if call.is_write and call.namespace != SYSTEM]


def long_ago() -> datetime:
    return datetime.now(UTC) - timedelta(hours=1)


@pytest.mark.usefixtures("operator")
def test_replicas_and_status_have_one_writer_and_the_spec_is_never_written(
    plane: Plane, gateway: FakeGateway, namespace: str
) -> None:
    audit = plane.audit()
    model = Model.make(plane.api, namespace, "one-writer", scaling={"idleSeconds": 1})
    before = model.get()
    model.wake(lasting=2)
    gateway.report(model.key, finished=long_ago())
    model.wait_replicas(0, seconds=15)
    wait_right([model], 0, seconds=10)

    after = model.get()
    assert after["spec"] == before["spec"]
    assert after["metadata"]["generation"] == 1
    assert managers(after, "f:spec") == {"user"}
    assert managers(after, "f:status") == {"tertium-status"}
    for engine in model.engines():
        assert all(name.startswith("tertium") for name in managers(engine, "f:spec", "f:replicas"))
    touched = {call.resource for call in audit.take() if call.is_write and "llmdeployments" in call.resource}
    assert touched == {"llmdeployments/status"}


def test_an_unchanged_world_costs_no_write_after_a_restart_and_after_a_touch(
    plane: Plane, gateway: FakeGateway, operator: OperatorProcess, namespace: str
) -> None:
    models = [Model.make(plane.api, namespace, f"same-{i}", scaling={"idleSeconds": 600}) for i in range(3)]
    gateway.report(models[0].key, in_flight=1)
    models[0].wake(lasting=2)
    wait_right(models[:1], 1, seconds=10)
    wait_right(models[1:], 0, seconds=10)
    operator.stop()

    audit = plane.audit()
    again = plane.operator()
    again.wait_ready()
    for model in models:
        plane.api.merge(model.path, {"metadata": {"annotations": {"touched": "yes"}}})
    time.sleep(5)
    again.stop()
    assert tally(writes(audit.take())) == {}


@pytest.mark.usefixtures("operator")
@pytest.mark.parametrize(
    ("kind", "suffix", "content"),
    [
        pytest.param((CORE, "services"), "engine", {"spec": {"ports": [{"port": 5}]}}, id="a Service"),
        pytest.param((CORE, "configmaps"), "model", {"data": {"mine": "yes"}}, id="a ConfigMap"),
        pytest.param((LEASES, "leases"), "demand", {"spec": {"holderIdentity": "me"}}, id="a Lease"),
    ],
)
def test_a_foreign_object_is_neither_adopted_nor_changed_nor_deleted(
    plane: Plane, namespace: str, kind: tuple[str, str], suffix: str, content: dict[str, Any]
) -> None:
    root, plural = kind
    path = path_of(root, namespace, plural)
    foreign = plane.api.create(path, {"metadata": {"name": f"mine-{suffix}"}, **content})
    model = Model.apply(plane.api, namespace, "mine")
    seen = model.wait("Accepted", "False", reason="NotOwned", seconds=15)
    assert f"{namespace}/mine-{suffix} exists and is not controlled by this LLMDeployment" in seen["message"]

    plane.api.delete(model.path)
    until("the deployment is gone", lambda: plane.api.find(model.path) is None, seconds=10)
    time.sleep(1)
    left = plane.api.get(f"{path}/mine-{suffix}")
    assert left["metadata"]["uid"] == foreign["metadata"]["uid"]
    assert left["metadata"]["resourceVersion"] == foreign["metadata"]["resourceVersion"]


@pytest.mark.usefixtures("operator")
def test_a_short_name_stays_with_the_older_of_two_until_that_one_is_gone(
    plane: Plane, namespace: str
) -> None:
    named = {"source": SOURCE, "servedName": "chat"}
    older = Model.make(plane.api, namespace, "older", model=named)
    time.sleep(1)  # The API server dates objects to the second.
    before = older.get()
    younger = Model.make(plane.api, namespace, "a-younger-one", model=named)
    clash = younger.wait("Accepted", "True", reason="NameTaken", seconds=10)
    assert clash["message"].startswith(f"spec.model.servedName: the short name 'chat' leads to {older.key}")
    younger.wake()
    assert older.get() == before

    plane.api.delete(older.path)
    younger.wait("Accepted", "True", reason="Valid", seconds=10)


def test_no_data_is_never_read_as_idle(
    plane: Plane, gateway: FakeGateway, operator: OperatorProcess, namespace: str
) -> None:
    model = Model.make(plane.api, namespace, "busy", scaling={"idleSeconds": 1})
    gateway.report(model.key, in_flight=1)
    model.wake(lasting=1)

    def holds(what: str, seconds: float) -> None:
        time.sleep(seconds)
        assert model.replicas() == 1, f"{what} was read as idle"

    gateway.silence(True)
    holds("a gateway that does not answer", FRESH_SECONDS + 3)
    gateway.silence(False)
    gateway.restarted()
    holds("a gateway that was started again and knows nobody", 4)
    operator.kill()
    plane.operator()
    holds("a restart of the operator", 6)
    gateway.report(model.key, finished=long_ago())
    model.wait_replicas(0, seconds=15)


@pytest.mark.usefixtures("operator")
def test_zero_replicas_on_purpose_are_healthy(plane: Plane, gateway: FakeGateway, namespace: str) -> None:
    model = Model.make(plane.api, namespace, "asleep", scaling={"idleSeconds": 1})
    never = model.wait("Active", "False", reason="Idle", seconds=10)
    assert model.condition("Ready")["status"] == "True"
    model.wake(lasting=2)
    gateway.report(model.key, finished=long_ago())
    again = model.wait("Active", "False", reason="Idle", seconds=15)
    assert again["message"] == never["message"]
    assert model.condition("Ready")["status"] == "True"
    wait_right([model], 0, seconds=10)


@pytest.mark.usefixtures("operator")
def test_a_start_that_fails_frees_its_gpus_and_is_not_tried_for_ever(plane: Plane, namespace: str) -> None:
    pods: set[str] = set()

    def note(_: float, event: dict[str, Any]) -> None:
        pods.add(event["object"]["metadata"]["name"])

    model = Model.make(plane.api, namespace, "fails", engine={"image": "fake/fails"})
    with Watcher(plane.api, path_of(CORE, namespace, "pods"), note):
        model.demand()
        seen = model.wait("Active", "False", reason="StartFailed", seconds=15)
        assert "784.00 MiB" in seen["message"], "the engine's own words are not told"
        model.wait_replicas(0, seconds=5)
        tries = len(pods)
        for _ in range(5):
            model.demand()
            time.sleep(1)
        assert len(pods) == tries, f"tried again at once: {pods}"
    assert model.pods() == []

    plane.api.merge(model.path, {"spec": {"engine": {"image": "fake/engine"}}})
    model.demand()
    model.wait_replicas(1, seconds=10)
    model.wait("Active", "True", reason="Serving", seconds=10)


@pytest.mark.parametrize(
    "operator_runs",
    [pytest.param(True, id="with the operator up"), pytest.param(False, id="with the operator down")],
)
def test_deleting_a_deployment_removes_all_that_was_made_for_it(
    plane: Plane, operator: OperatorProcess, namespace: str, operator_runs: bool
) -> None:
    model = Model.make(plane.api, namespace, "gone")
    model.wake()
    wait_right([model], 1, seconds=10)
    uid = model.get()["metadata"]["uid"]
    for child in model.children():
        (reference,) = child["metadata"]["ownerReferences"]
        assert (reference["uid"], reference["controller"]) == (uid, True)
    if not operator_runs:
        operator.kill()
    plane.api.delete(model.path)

    def nothing() -> bool:
        kinds = (*CHILDREN, (CORE, "pods"), (BATCH, "jobs"))
        paths = [path_of(root, namespace, plural) for root, plural in kinds]
        left = [item["metadata"]["name"] for path in paths for item in plane.api.items(path)]
        assert left == ["kube-root-ca.crt"], left
        return True

    # The garbage collector learns of a new kind of owner every 30 s.
    until("nothing is left", nothing, seconds=60)


def managers(manifest: dict[str, Any], *fields: str) -> set[str]:
    """Who manages a field, or anything below it."""
    found = set()
    for entry in manifest["metadata"]["managedFields"]:
        part: Any = entry.get("fieldsV1", {})
        for field in fields:
            part = part.get(field) if isinstance(part, dict) else None
        if part is not None:
            found.add(entry["manager"])
    return found

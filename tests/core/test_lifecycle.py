"""What a pod's manifest says about its start."""

from __future__ import annotations

from typing import Any

import pytest

from tertium.core.lifecycle import EnginePod, StartFailure
from tests.factories import NOW, a_pod_manifest, at, seconds


def status(container: dict[str, Any], *, ready: tuple[str, float] = ("False", -50)) -> dict[str, Any]:
    return {
        "phase": "Running",
        "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": at(-55)},
            {"type": "Ready", "status": ready[0], "lastTransitionTime": at(ready[1])},
        ],
        "containerStatuses": [{"name": "engine", **container}],
    }


def ended(code: int, *, begun: float = -45, **more: Any) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "startedAt": at(begun), "finishedAt": at(-10), **more}}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


@pytest.mark.parametrize(
    ("pod_status", "failure"),
    [
        pytest.param(
            status({"state": {"running": {"startedAt": at(-45)}}}),
            None,
            id="a running container has not failed",
        ),
        pytest.param(
            status({"state": ended(1, message="boom\n")}),
            StartFailure(words="boom", exit_code=1),
            id="a container that ended before it was ready has failed",
        ),
        pytest.param(
            status({"state": waiting("CrashLoopBackOff"), "lastState": ended(1)}),
            StartFailure(words="", exit_code=1, restarted=True),
            id="its log is the previous one while it waits to be restarted",
        ),
        pytest.param(
            status({"state": {"running": {"startedAt": at(-5)}}, "lastState": ended(1)}),
            StartFailure(words="", exit_code=1, restarted=True),
            id="a second try does not undo the failure of the first",
        ),
        pytest.param(status({"state": ended(0)}), None, id="exit code 0 is no failure"),
        pytest.param(
            status({"state": ended(137, reason="OOMKilled")}),
            StartFailure(words="out of memory (OOMKilled)", exit_code=137),
            id="the kernel's reason is said in words",
        ),
        pytest.param(
            status({"state": ended(1)}, ready=("False", -10)),
            None,
            id="a crash after it had served is no failed start",
        ),
        pytest.param(
            status({"state": waiting("ImagePullBackOff", "not found")}),
            StartFailure(words="ImagePullBackOff: not found"),
            id="an image that cannot be had is a failed start",
        ),
        pytest.param(
            status({"state": waiting("ErrImagePull", "try again")}), None, id="the first pull error may pass"
        ),
        pytest.param(
            status({"state": waiting("CreateContainerConfigError", 'secret "x" not found')}),
            StartFailure(words='CreateContainerConfigError: secret "x" not found'),
            id="a missing secret is a failed start",
        ),
    ],
)
def test_failed_starts(pod_status: dict[str, Any], failure: StartFailure | None) -> None:
    assert EnginePod.parse(a_pod_manifest(status=pod_status)).failure == failure


def test_a_terminating_pod_neither_fails_nor_serves() -> None:
    failed = EnginePod.parse(a_pod_manifest(status=status({"state": ended(143)}), deleted=True))
    serving = EnginePod.parse(a_pod_manifest(status=status({}, ready=("True", -5)), deleted=True))
    assert (failed.terminating, failed.failure, serving.ready) == (True, None, None)


def test_a_ready_pod_knows_since_when() -> None:
    running = {"state": {"running": {"startedAt": at(-45)}}}
    pod = EnginePod.parse(a_pod_manifest(status=status(running, ready=("True", -5))))
    assert pod.ready == NOW - seconds(5)
    record = pod.start_record()
    assert record is not None
    assert record.total_millis == 55_000


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        pytest.param(
            StartFailure(words="x", exit_code=2), "The engine ended with exit code 2: x", id="words"
        ),
        pytest.param(
            StartFailure(words="", exit_code=2),
            "The engine ended with exit code 2 and said nothing",
            id="silence",
        ),
        pytest.param(StartFailure(words="InvalidImageName: x"), "InvalidImageName: x", id="never ran"),
    ],
)
def test_messages(failure: StartFailure, message: str) -> None:
    assert failure.message == message


def test_an_unscheduled_pod_has_the_schedulers_words() -> None:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/1 nodes are available",
        "lastTransitionTime": at(-5),
    }
    pod = EnginePod.parse(a_pod_manifest(status={"phase": "Pending", "conditions": [condition]}))
    assert (pod.unschedulable, pod.waits_for, pod.start_record()) == (True, "0/1 nodes are available", None)

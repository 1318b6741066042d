"""What a pod's manifest says of its troubles."""

from __future__ import annotations

from typing import Any

import pytest

from tertium.core.failure import StartFailure, failure_of, refused_words, taken_by, why_waiting
from tests.factories import a_pod_manifest, at

IMAGE = "registry.example/engine:1"


def status(container: dict[str, Any], *, ready: tuple[str, float] = ("False", -50), **more: Any) -> Any:
    return {
        "phase": "Running",
        "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": at(-55)},
            {"type": "Ready", "status": ready[0], "lastTransitionTime": at(ready[1])},
        ],
        "containerStatuses": [{"name": "engine", "image": IMAGE, **container}],
        **more,
    }


def ended(code: int, *, begun: float = -45, **more: Any) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "startedAt": at(begun), "finishedAt": at(-10), **more}}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


def a_pod(pod_status: dict[str, Any], *, memory: str = "") -> dict[str, Any]:
    limits = {"limits": {"memory": memory}} if memory else {}
    spec = {"nodeName": "node-1", "containers": [{"name": "engine", "resources": limits}]}
    return {**a_pod_manifest(status=pod_status), "spec": spec}


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
            status({"state": ended(1)}, ready=("False", -10)),
            None,
            id="a crash after it had served is no failed start",
        ),
        pytest.param(
            status({"state": waiting("ErrImagePull", "try again")}), None, id="the first pull error may pass"
        ),
        pytest.param(
            status({"state": waiting("CreateContainerConfigError", 'secret "x" not found')}),
            StartFailure(words='CreateContainerConfigError: secret "x" not found'),
            id="a missing secret is a failed start",
        ),
        pytest.param(
            status({"state": waiting("InvalidImageName", "couldn't parse image name")}),
            StartFailure(words="InvalidImageName: couldn't parse image name"),
            id="an image that has no valid name is a failed start",
        ),
        pytest.param(
            status(
                {
                    "state": waiting(
                        "ImagePullBackOff", f'Back-off pulling image "{IMAGE}": ErrImagePull: not found'
                    )
                }
            ),
            StartFailure(
                words=f"ImagePullBackOff: the image '{IMAGE}' cannot be pulled: ErrImagePull: not found"
            ),
            id="an image that cannot be had is a failed start, and named once",
        ),
        pytest.param(
            status(
                {"state": waiting("ImagePullBackOff", "read udp 10.0.0.5:43210->10.0.0.1:53: i/o timeout")}
            ),
            StartFailure(
                words=f"ImagePullBackOff: the image '{IMAGE}' cannot be pulled: "
                "read udp 10.0.0.5->10.0.0.1:53: i/o timeout"
            ),
            id="a connection's own port, another in every try, is left out",
        ),
        pytest.param(
            {
                "phase": "Failed",
                "reason": "Evicted",
                "message": "The node was low on resource: memory. Threshold: 100Mi, available: 52Mi.",
            },
            StartFailure(words="Evicted: The node was low on resource: memory"),
            id="an eviction by the node is told without what was measured",
        ),
        pytest.param(
            {"phase": "Failed", "reason": "UnexpectedAdmissionError"},
            StartFailure(words="UnexpectedAdmissionError"),
            id="a node that refuses the pod may say only a word",
        ),
        pytest.param(
            status({"state": ended(137)}, ready=("False", -20), phase="Failed", reason="Evicted"),
            None,
            id="an eviction after it had served is no failed start",
        ),
    ],
)
def test_failed_starts(pod_status: dict[str, Any], failure: StartFailure | None) -> None:
    assert failure_of(a_pod(pod_status)) == failure


@pytest.mark.parametrize(
    ("memory", "words"),
    [
        pytest.param(
            "16Gi",
            "The engine was killed (OOMKilled): it needs more main memory than its limit of 16Gi; "
            "raise spec.template.resources.limits.memory",
            id="its own limit is named",
        ),
        pytest.param(
            "",
            "The engine was killed (OOMKilled): its node has not enough main memory",
            id="without a limit it was the node's memory",
        ),
    ],
)
def test_a_container_killed_for_its_memory(memory: str, words: str) -> None:
    killed = status({"state": ended(137, reason="OOMKilled")})
    assert failure_of(a_pod(killed, memory=memory)) == StartFailure(words=words)


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
        pytest.param(StartFailure(words="x" * 9000), "x" * 2000, id="an endless log"),
    ],
)
def test_messages(failure: StartFailure, message: str) -> None:
    assert failure.message == message


@pytest.mark.parametrize(
    ("pod_status", "words"),
    [
        pytest.param(
            {
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}
                ]
            },
            "0/1 nodes are available",
            id="the scheduler's words",
        ),
        pytest.param(
            {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]},
            "SchedulingGated",
            id="its reason where it has no words",
        ),
        pytest.param(
            {"conditions": [{"type": "PodScheduled", "status": "False"}]},
            "not scheduled",
            id="a plain word where it says nothing",
        ),
        pytest.param(
            status({"state": waiting("ErrImagePull", "no such host")}),
            f"ErrImagePull: the image '{IMAGE}' cannot be pulled: no such host",
            id="the kubelet's words about the image",
        ),
        pytest.param(status({"state": waiting("ContainerCreating")}), "", id="a container being made"),
    ],
)
def test_why_a_pod_waits(pod_status: dict[str, Any], words: str) -> None:
    assert why_waiting(a_pod(pod_status)) == words


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        pytest.param(
            "DeletionByTaintManager",
            "A replica is lost: node node-1 does not answer, or its taints allow it no longer",
            id="a node that is gone",
        ),
        pytest.param(
            "PreemptionByScheduler",
            "A replica on node node-1 gave way to a pod of higher priority",
            id="preemption",
        ),
        pytest.param(
            "EvictionByEvictionAPI",
            "A replica on node node-1 was evicted (EvictionByEvictionAPI)",
            id="a drained node",
        ),
    ],
)
def test_who_takes_a_pod_away(reason: str, words: str) -> None:
    target = {"type": "DisruptionTarget", "status": "True", "reason": reason, "lastTransitionTime": at(-1)}
    assert taken_by(a_pod({"conditions": [target]})) == words


def test_nobody_takes_a_pod_away_that_is_scaled_down() -> None:
    assert taken_by(a_pod(status({}))) == ""


def test_a_refused_pod_is_told_without_the_name_that_is_new_in_every_try() -> None:
    message = 'pods "qwen-engine-4f2a-7d9c-x8z2q" is forbidden: exceeded quota: gpus'
    assert refused_words("") == ""
    assert refused_words(message) == (
        "The API server refuses the engine's pod: forbidden: exceeded quota: gpus"
    )

"""What a pod's manifest says about its life, and when its start has failed."""

from __future__ import annotations

from typing import Any

import pytest

from tertium.core.failure import StartFailure
from tertium.core.lifecycle import EnginePod, rest_seconds, start_failure, start_seconds_left
from tests.factories import NOW, a_pod, a_pod_manifest, at, seconds

BOOM = StartFailure(words="boom", exit_code=1)


def status(container: dict[str, Any], *, ready: tuple[str, float] = ("False", -50)) -> dict[str, Any]:
    return {
        "phase": "Running",
        "podIP": "10.0.0.7",
        "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": at(-55)},
            {"type": "Ready", "status": ready[0], "lastTransitionTime": at(ready[1])},
        ],
        "containerStatuses": [{"name": "engine", **container}],
    }


RUNNING = {"state": {"running": {"startedAt": at(-45)}}}
ENDED = {"state": {"terminated": {"exitCode": 1, "startedAt": at(-45), "finishedAt": at(-30)}}}


@pytest.mark.parametrize(
    ("pod", "failure"),
    [
        pytest.param(a_pod(), None, id="a young start has not failed"),
        pytest.param(a_pod(failure=BOOM), BOOM, id="what the manifest shows"),
        pytest.param(a_pod(failure=BOOM, terminating=True), None, id="one that is deleted is past caring"),
        pytest.param(
            a_pod(failure=BOOM, ended=NOW - seconds(59)), BOOM, id="remains of less than a minute are news"
        ),
        pytest.param(
            a_pod(failure=BOOM, ended=NOW - seconds(60)), None, id="remains of a minute are an old story"
        ),
        pytest.param(
            a_pod(started=NOW - seconds(600)),
            StartFailure(
                words="The engine did not answer /health within the 600 s of spec.engine.startSeconds"
            ),
            id="an engine that does not answer in time",
        ),
        pytest.param(a_pod(started=NOW - seconds(599)), None, id="one that has a second left"),
        pytest.param(
            a_pod(started=None, scheduled=NOW - seconds(1799)), None, id="a large image takes its time"
        ),
        pytest.param(
            a_pod(started=NOW - seconds(9000), served=True), None, id="one that has served has started"
        ),
        pytest.param(
            a_pod(started=None, scheduled=NOW - seconds(1800), waits_for="ErrImagePull: no such host"),
            StartFailure(
                words="The engine's container did not start within 30 minutes: ErrImagePull: no such host"
            ),
            id="a container that does not start in time, with the kubelet's words",
        ),
        pytest.param(
            a_pod(started=None, scheduled=NOW - seconds(1800)),
            StartFailure(
                words="The engine's container did not start within 30 minutes: the kubelet does not say why"
            ),
            id="a container that does not start in time, and nobody says why",
        ),
        pytest.param(
            a_pod(started=None, scheduled=None), None, id="one without a node may wait as long as it likes"
        ),
    ],
)
def test_failed_starts(pod: EnginePod, failure: StartFailure | None) -> None:
    assert start_failure(pod, NOW, 600) == failure


@pytest.mark.parametrize(
    ("pod", "left"),
    [
        pytest.param(a_pod(started=NOW - seconds(100)), 500.0, id="counted from the container's start"),
        pytest.param(
            a_pod(started=None, scheduled=NOW - seconds(10)),
            1790.0,
            id="before that, from when it got its node",
        ),
        pytest.param(a_pod(started=NOW - seconds(700)), 0.0, id="never below zero"),
        pytest.param(a_pod(ready=NOW), None, id="a start that is over has no limit"),
        pytest.param(a_pod(scheduled=None, started=None), None, id="nor has one without a node"),
    ],
)
def test_the_time_a_start_has_left(pod: EnginePod, left: float | None) -> None:
    assert start_seconds_left(pod, NOW, 600) == left


@pytest.mark.parametrize(
    ("count", "rest"),
    [(0, 60.0), (1, 60.0), (2, 120.0), (3, 240.0), (5, 960.0), (6, 1800.0), (7, 1800.0), (10_000, 1800.0)],
)
def test_the_rest_doubles_from_a_minute_to_half_an_hour(count: int, rest: float) -> None:
    assert rest_seconds(count) == rest


def test_a_pod_knows_its_place_its_revision_and_its_gpus() -> None:
    manifest = a_pod_manifest(status=status(RUNNING), labels={"tertium.dev/revision": "4f2a"})
    limits = {"nvidia.com/gpu": "2", "memory": "8Gi"}
    manifest["spec"] = {
        "nodeName": "node-3",
        "containers": [{"name": "sidecar"}, {"name": "engine", "resources": {"limits": limits}}],
    }
    pod = EnginePod.parse(manifest)
    assert (pod.revision, pod.node, pod.address, pod.gpus) == ("4f2a", "node-3", "10.0.0.7", 2)


def test_a_ready_pod_knows_since_when_and_how_it_started() -> None:
    pod = EnginePod.parse(a_pod_manifest(status=status(RUNNING, ready=("True", -5))))
    assert (pod.ready, pod.served) == (NOW - seconds(5), True)
    record = pod.start_record(NOW - seconds(5))
    assert record is not None
    assert record.total_millis == 55_000
    assert [(phase.name, phase.millis) for phase in record.phases] == [
        ("scheduling", 5_000),
        ("container", 10_000),
        ("engine", 40_000),
    ]


def test_a_start_is_not_recorded_where_the_container_was_started_anew_since() -> None:
    pod = EnginePod.parse(a_pod_manifest(status=status(RUNNING, ready=("True", -5))))
    assert pod.start_record(NOW - seconds(46)) is None


def test_a_pod_that_lost_its_readiness_has_served() -> None:
    pod = EnginePod.parse(a_pod_manifest(status=status(RUNNING, ready=("False", -5))))
    assert (pod.ready, pod.served) == (None, True)


def test_a_terminating_pod_neither_fails_nor_serves() -> None:
    failed = EnginePod.parse(a_pod_manifest(status=status(ENDED), deleted=True))
    serving = EnginePod.parse(a_pod_manifest(status=status({}, ready=("True", -5)), deleted=True))
    assert (failed.terminating, failed.failure, serving.ready) == (True, None, None)


@pytest.mark.parametrize(
    ("pod_status", "ended"),
    [
        pytest.param(status(RUNNING), None, id="alive"),
        pytest.param({**status(ENDED), "phase": "Failed"}, NOW - seconds(30), id="when its container ended"),
        pytest.param(
            {"phase": "Failed", "reason": "OutOfmemory"},
            NOW - seconds(60),
            id="when it was made, where nothing of it ever ran",
        ),
    ],
)
def test_a_pod_knows_when_it_ended(pod_status: dict[str, Any], ended: Any) -> None:
    assert EnginePod.parse(a_pod_manifest(status=pod_status)).ended == ended


def test_a_pod_on_a_node_that_is_lost_holds_no_gpu_anybody_could_use() -> None:
    target = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}
    leaving = status(RUNNING)
    lost = {**leaving, "conditions": [*leaving["conditions"], {**target, "lastTransitionTime": at(-1)}]}
    held = [
        EnginePod.parse(a_pod_manifest(status=one, deleted=True)).holds_gpus(NOW) for one in (leaving, lost)
    ]
    assert held == [True, False]


def test_an_unscheduled_pod_has_the_schedulers_words() -> None:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/1 nodes are available",
        "lastTransitionTime": at(-5),
    }
    pod = EnginePod.parse(a_pod_manifest(status={"phase": "Pending", "conditions": [condition]}))
    assert (pod.unschedulable, pod.waits_for, pod.scheduled) == (True, "0/1 nodes are available", None)

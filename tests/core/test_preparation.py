"""Pods that the kubelet is late with: since when, when their Events are looked at, and what those say."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from tertium.core.preparation import Trouble, prepared_since, seconds_to_look, trouble_of
from tests.factories import NOW, a_pod_manifest, at, seconds

SCHEDULED = {"type": "PodScheduled", "status": "True", "lastTransitionTime": at(-30)}
SUMMARY = "Unable to attach or mount volumes: unmounted volumes=[token], timed out waiting for the condition"


def status(*conditions: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"phase": "Pending", "conditions": [SCHEDULED, *conditions], **more}


@pytest.mark.parametrize(
    ("pod_status", "since"),
    [
        pytest.param(status(), NOW - seconds(30), id="one with a node and nothing else"),
        pytest.param(
            status({"type": "PodReadyToStartContainers", "status": "False"}),
            NOW - seconds(30),
            id="one whose node says that it is not through",
        ),
        pytest.param(
            status({"type": "PodReadyToStartContainers", "status": "True"}),
            None,
            id="one whose image is being pulled is prepared",
        ),
        pytest.param(status(podIP="10.0.0.7"), None, id="one with an address is prepared"),
        pytest.param({"phase": "Pending"}, None, id="one without a node waits for the scheduler"),
        pytest.param(status(phase="Running"), None, id="one that runs"),
        pytest.param(status(phase="Failed"), None, id="one that has ended"),
    ],
)
def test_which_pods_are_being_prepared(pod_status: dict[str, Any], since: datetime | None) -> None:
    assert prepared_since(a_pod_manifest(status=pod_status)) == since


@pytest.mark.parametrize(
    ("preparing", "wait"),
    [
        pytest.param(None, None, id="one that is prepared is not asked about"),
        pytest.param(NOW - seconds(4), 6.0, id="a young one in time"),
        pytest.param(NOW - seconds(10), 15.0, id="a late one now and then"),
    ],
)
def test_when_events_are_looked_at(preparing: datetime | None, wait: float | None) -> None:
    assert seconds_to_look(preparing, NOW) == wait


def an_event(message: str, *, reason: str = "FailedMount", said: float = -5, **more: Any) -> dict[str, Any]:
    return {"reason": reason, "message": message, "metadata": {}, "lastTimestamp": at(said), **more}


def mount(why: str) -> str:
    return f'MountVolume.SetUp failed for volume "token" : {why}'


NO_SECRET = mount('secret "hf" not found')
NO_KEY = mount("references non-existent secret key: token")
NO_MAP = mount('configmap "templates" not found')
SLOW = 'AttachVolume.Attach failed for volume "pvc-1" : rpc error: deadline exceeded'


@pytest.mark.parametrize(
    ("events", "trouble"),
    [
        pytest.param([], Trouble(), id="nothing was said"),
        pytest.param([an_event("Pulling image", reason="Pulling")], Trouble(), id="nothing about volumes"),
        pytest.param(
            [an_event(NO_SECRET)],
            Trouble(words=f"FailedMount: {NO_SECRET}", hopeless=True),
            id="a Secret that is not there",
        ),
        pytest.param(
            [an_event(NO_KEY)],
            Trouble(words=f"FailedMount: {NO_KEY}", hopeless=True),
            id="a Secret without the key",
        ),
        pytest.param(
            [an_event(NO_MAP)],
            Trouble(words=f"FailedMount: {NO_MAP}", hopeless=True),
            id="a ConfigMap that is not there",
        ),
        pytest.param(
            [an_event(SLOW, reason="FailedAttachVolume")],
            Trouble(words=f"FailedAttachVolume: {SLOW}"),
            id="a disk that may still come",
        ),
        pytest.param(
            [an_event(NO_SECRET, said=-9), an_event(SUMMARY, said=-1)],
            Trouble(words=f"FailedMount: {NO_SECRET}", hopeless=True),
            id="the reason goes before the sum, though that is newer",
        ),
        pytest.param(
            [an_event(SUMMARY)],
            Trouble(words=f"FailedMount: {SUMMARY}"),
            id="the sum where nothing else is said",
        ),
        pytest.param(
            [an_event(NO_SECRET, said=-20), an_event(NO_KEY, said=-2)],
            Trouble(words=f"FailedMount: {NO_KEY}", hopeless=True),
            id="the newest of several reasons",
        ),
        pytest.param(
            [an_event(NO_SECRET, said=-20), an_event(NO_KEY, said=-40, series={"lastObservedTime": at(-2)})],
            Trouble(words=f"FailedMount: {NO_KEY}", hopeless=True),
            id="one said again and again is as new as its last time",
        ),
        pytest.param(
            [{"reason": "FailedCreatePodSandBox", "metadata": {"creationTimestamp": at(-3)}}],
            Trouble(words="FailedCreatePodSandBox: no message"),
            id="an Event with a reason and no words",
        ),
    ],
)
def test_what_events_say(events: list[dict[str, Any]], trouble: Trouble) -> None:
    assert trouble_of(events) == trouble

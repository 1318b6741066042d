"""The life of one engine pod, read from its manifest: start phases, readiness, why it waits or failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from tertium.api.meta import Manifest, parse_time
from tertium.api.v1alpha1 import StartPhase, StartRecord
from tertium.core import names

# Waiting reasons that no passing of time cures: the first pull error is not among them, its back-off is.
_HOPELESS: Final = frozenset(
    {
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartFailure:
    """A start that failed. `words` is what the engine or the kubelet said."""

    words: str
    exit_code: int | None = None
    """None: the container never ran."""
    restarted: bool = False
    """The log of the failed run is the previous one."""

    @property
    def message(self) -> str:
        """One sentence for the condition."""
        if self.exit_code is None:
            return self.words
        ended = f"The engine ended with exit code {self.exit_code}"
        return f"{ended}: {self.words}" if self.words else f"{ended} and said nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnginePod:
    """One replica."""

    name: str
    created: datetime
    terminating: bool
    scheduled: datetime | None
    started: datetime | None
    ready: datetime | None
    """Since when it answers; None: it does not."""
    waits_for: str
    """Why the scheduler or the kubelet holds it back; empty: nothing does."""
    unschedulable: bool
    failure: StartFailure | None

    @classmethod
    def parse(cls, manifest: Manifest) -> EnginePod:
        """Read a pod of the engine's Deployment."""
        metadata, status = manifest["metadata"], manifest.get("status") or {}
        conditions = _conditions(status)
        container = _container(status.get("containerStatuses") or (), names.ENGINE_CONTAINER)
        terminating = "deletionTimestamp" in metadata
        scheduled = _since(conditions, "PodScheduled")
        return cls(
            name=metadata["name"],
            created=parse_time(metadata["creationTimestamp"]),
            terminating=terminating,
            scheduled=scheduled,
            started=_time(_state(container, "running").get("startedAt")),
            ready=None if terminating else _since(conditions, "Ready"),
            waits_for=why_waiting(manifest),
            unschedulable=conditions.get("PodScheduled", {}).get("reason") == "Unschedulable",
            failure=None if terminating else _failure(container, conditions),
        )

    def start_record(self) -> StartRecord | None:
        """Return the phases of the start that made this pod ready, or None while there is none.

        Kubernetes keeps these times in whole seconds.
        """
        if self.scheduled is None or self.started is None or self.ready is None:
            return None
        steps = (
            ("scheduling", self.created, self.scheduled),
            ("container", self.scheduled, self.started),
            ("engine", self.started, self.ready),
        )
        return StartRecord(
            total_millis=_millis(self.created, self.ready),
            phases=tuple(StartPhase(name=name, millis=_millis(begin, end)) for name, begin, end in steps),
        )


def why_waiting(manifest: Manifest) -> str:
    """Return why a pod has not started: the scheduler's words, else the first waiting container's."""
    status = manifest.get("status") or {}
    scheduled = _conditions(status).get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return str(scheduled.get("message") or scheduled.get("reason") or "not scheduled")
    for container in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        waiting = _state(container, "waiting")
        if waiting.get("message"):
            return f"{waiting['reason']}: {waiting['message']}"
    return ""


def _failure(
    container: Mapping[str, Any], conditions: Mapping[str, Mapping[str, Any]]
) -> StartFailure | None:
    """Return how the start failed, or None.

    | container                                     | Ready condition           | result            |
    | waits for an image or a config it cannot have | any                       | the kubelet's words |
    | ended, exit code 0                            | any                       | None              |
    | ended, exit code not 0                        | not True since that start | the failure       |
    | ended, exit code not 0                        | turned after that start   | None: it had served |
    """
    waiting = _state(container, "waiting")
    if waiting.get("reason") in _HOPELESS:
        return StartFailure(words=f"{waiting['reason']}: {waiting.get('message') or 'no message'}")
    ended = _state(container, "terminated")
    restarted = not ended
    ended = ended or (container.get("lastState") or {}).get("terminated") or {}
    if not ended or ended.get("exitCode", 0) == 0:
        return None
    ready = conditions.get("Ready", {})
    begun, turned = _time(ended.get("startedAt")), _time(ready.get("lastTransitionTime"))
    if ready.get("status") == "True" or (begun and turned and turned > begun):
        return None
    reason = ended.get("reason", "")
    words = "out of memory (OOMKilled)" if reason == "OOMKilled" else str(ended.get("message") or "").strip()
    return StartFailure(words=words, exit_code=int(ended["exitCode"]), restarted=restarted)


def _conditions(status: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    return {condition["type"]: condition for condition in status.get("conditions") or ()}


def _container(statuses: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    return next((status for status in statuses if status["name"] == name), {})


def _state(container: Mapping[str, Any], state: str) -> Mapping[str, Any]:
    return (container.get("state") or {}).get(state) or {}


def _since(conditions: Mapping[str, Mapping[str, Any]], kind: str) -> datetime | None:
    condition = conditions.get(kind, {})
    return _time(condition.get("lastTransitionTime")) if condition.get("status") == "True" else None


def _time(text: str | None) -> datetime | None:
    return parse_time(text) if text else None


def _millis(begin: datetime, end: datetime) -> int:
    return max(0, round((end - begin).total_seconds() * 1000))

"""The life of one engine pod: start phases, readiness, whether its start failed, how long to rest after that.

Pure; `now` is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from tertium.api.meta import Manifest, parse_time
from tertium.api.v1alpha1 import StartPhase, StartRecord
from tertium.core import failure, names
from tertium.core.failure import StartFailure
from tertium.core.preparation import prepared_since

GPU_RESOURCES: Final = "nvidia.com/"
"""Prefix of the resources that are GPUs or slices of them."""

_FIRST_REST_SECONDS: Final = 60.0
_LONGEST_REST_SECONDS: Final = 1800.0
_OVERSTAY: Final = timedelta(seconds=30)
_CONTAINER_SECONDS: Final = 1800
"""How long the kubelet may take to get image and volumes; what is hopeless it says itself, and earlier."""
_NEWS: Final = timedelta(seconds=_FIRST_REST_SECONDS)
"""How long a pod's remains count as a start that fails now: no longer than the shortest rest after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnginePod:
    """One replica."""

    name: str
    uid: str
    revision: str
    """Which revision of the engine's pods it is of."""
    gpus: int
    """GPUs it holds once it has a node."""
    node: str
    """Where it runs; empty: it has no node yet."""
    address: str
    """Its IP; empty: none yet."""
    created: datetime
    terminating: bool
    ended: datetime | None
    """Since when its containers are gone for good and only the record is left; None: it is alive."""
    scheduled: datetime | None
    started: datetime | None
    ready: datetime | None
    """Since when it answers; None: it does not."""
    served: bool
    """It has answered since its container started, though it may not now."""
    waits_for: str
    """Why the scheduler or the kubelet holds it back; empty: nothing does."""
    unschedulable: bool
    failure: StartFailure | None
    """What its manifest shows; `start_failure` adds what takes a clock."""
    lost: bool = False
    """Its node is out of use: whatever it still does there, nobody sees it."""
    taken_by: str = ""
    """Who takes it away though nobody scaled it down, as a sentence; empty: nobody."""
    preparing: datetime | None = None
    """Since when the kubelet prepares its volumes and network; None: it does not, or they are there."""
    streams: int | None = None
    """Requests it works on; None: not known."""
    leaves_by: datetime | None = None
    """Until when it is given time to finish; None: it is not being deleted."""

    @classmethod
    def parse(cls, manifest: Manifest) -> EnginePod:
        """Read a pod of the engine's Deployment."""
        metadata, spec, status = (manifest.get(part) or {} for part in ("metadata", "spec", "status"))
        terminating, ended = "deletionTimestamp" in metadata, _ended(manifest)
        started = failure.time_of(
            failure.state(failure.container_status(manifest), "running").get("startedAt")
        )
        return cls(
            name=metadata["name"],
            uid=metadata.get("uid", ""),
            revision=(metadata.get("labels") or {}).get(names.REVISION_LABEL, names.UNVERSIONED),
            gpus=_gpus(manifest),
            node=spec.get("nodeName") or "",
            address=status.get("podIP") or "",
            created=parse_time(metadata["creationTimestamp"]),
            terminating=terminating,
            ended=ended,
            scheduled=_since(manifest, "PodScheduled"),
            started=started,
            ready=None if terminating or ended else _since(manifest, "Ready"),
            served=failure.has_served(manifest, started),
            waits_for=failure.why_waiting(manifest),
            unschedulable=failure.condition(manifest, "PodScheduled").get("reason") == "Unschedulable",
            failure=None if terminating else failure.failure_of(manifest),
            taken_by=failure.taken_by(manifest),
            lost=failure.is_lost(manifest),
            preparing=None if terminating or ended else prepared_since(manifest),
            leaves_by=failure.time_of(metadata.get("deletionTimestamp")),
        )

    def overstays(self, now: datetime) -> bool:
        """Whether it should long be gone: its node does not answer, and its GPUs are no use to anyone."""
        return self.leaves_by is not None and now >= self.leaves_by + _OVERSTAY

    def holds_gpus(self, now: datetime) -> bool:
        """Whether its GPUs are not free for others."""
        return self.scheduled is not None and not self.lost and not self.overstays(now)

    def start_record(self, answered: datetime) -> StartRecord | None:
        """Return the phases of the start after which it first `answered`; None where they are not all known.

        Kubernetes keeps these times in whole seconds.
        """
        if self.scheduled is None or self.started is None or answered < self.started:
            return None
        steps = (
            ("scheduling", self.created, self.scheduled),
            ("container", self.scheduled, self.started),
            ("engine", self.started, answered),
        )
        return StartRecord(
            total_millis=_millis(self.created, answered),
            phases=tuple(StartPhase(name=name, millis=_millis(begin, end)) for name, begin, end in steps),
        )


def start_failure(pod: EnginePod, now: datetime, start_seconds: int) -> StartFailure | None:
    """Return how this pod's start failed, or None: it has not, or not yet.

    | pod                                            | for                     | result             |
    | is being deleted                               | -                       | None               |
    | ended and never answered: evicted, refused     | 60 s or more            | None: an old story |
    | ended, its container did, or it cannot start   | -                       | what was said      |
    | has answered since its container started       | -                       | None               |
    | its container runs                             | `start_seconds` or more | took too long      |
    | has a node, and its container does not run yet | 30 minutes or more      | took too long      |
    | otherwise                                      | -                       | None               |
    """
    if pod.terminating or (pod.ended is not None and now - pod.ended >= _NEWS):
        return None
    if pod.failure is not None:
        return pod.failure
    left = start_seconds_left(pod, now, start_seconds)
    if left is None or left > 0:
        return None
    if pod.started is not None:
        late = f"within the {start_seconds} s of spec.engine.startSeconds"
        return StartFailure(words=f"The engine did not answer /health {late}")
    why = pod.waits_for or "the kubelet does not say why"
    late = f"within {_CONTAINER_SECONDS // 60} minutes"
    return StartFailure(words=f"The engine's container did not start {late}: {why}")


def start_seconds_left(pod: EnginePod, now: datetime, start_seconds: int) -> float | None:
    """Return after how many seconds a start has taken too long; None: it is over or has no node yet."""
    if pod.terminating or pod.served or pod.ended is not None or pod.failure is not None:
        return None
    begun, limit = (pod.started, start_seconds) if pod.started else (pod.scheduled, _CONTAINER_SECONDS)
    return None if begun is None else max(0.0, limit - (now - begun).total_seconds())


def rest_seconds(count: int) -> float:
    """Return the rest after the `count`-th failed start in a row, in seconds: 60, doubled up to 1,800."""
    return min(_FIRST_REST_SECONDS * 2.0 ** min(max(count - 1, 0), 16), _LONGEST_REST_SECONDS)


def _ended(manifest: Manifest) -> datetime | None:
    """Return when a pod ended: the kubelet says it of containers only, so the latest time known counts."""
    status = manifest.get("status") or {}
    if status.get("phase") not in ("Failed", "Succeeded"):
        return None
    texts = [
        manifest["metadata"]["creationTimestamp"],
        failure.state(failure.container_status(manifest), "terminated").get("finishedAt"),
        *(condition.get("lastTransitionTime") for condition in status.get("conditions") or ()),
    ]
    return max(parse_time(text) for text in texts if text)


def _gpus(manifest: Manifest) -> int:
    limits = failure.resources(manifest, "limits")
    counts = [str(count) for name, count in limits.items() if name.startswith(GPU_RESOURCES)]
    return sum(int(count) for count in counts if count.isdecimal())


def _since(manifest: Manifest, kind: str) -> datetime | None:
    condition = failure.condition(manifest, kind)
    return failure.time_of(condition.get("lastTransitionTime")) if condition.get("status") == "True" else None


def _millis(begin: datetime, end: datetime) -> int:
    return max(0, round((end - begin).total_seconds() * 1000))

"""What holds up the kubelet before a pod's containers: volumes and network.

A pod's own status is silent about both; only its Events tell. Pure; `now` is an argument.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from tertium.api.meta import Manifest, parse_time
from tertium.core import failure

PATIENCE: Final = timedelta(seconds=10)
"""How long the kubelet may take before it is asked about: most pods are prepared in one or two seconds."""
LOOK_SECONDS: Final = 15.0
"""How often it is asked after that; nothing that a watch brings tells of its Events."""

_REASONS: Final = ("FailedMount", "FailedAttachVolume", "FailedMapVolume", "FailedCreatePodSandBox")
_SUMMARY: Final = "Unable to attach or mount volumes"
"""The kubelet's sum of what it waits for, said beside the reason and without it."""
_HOPELESS: Final = re.compile(
    r'(?:secret|configmap) "[^"]*" not found|references non-existent (?:secret|config) key'
)
"""What no passing of time cures, as with a container that refers to such a thing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why a pod is not prepared, in the kubelet's words; empty: it does not say."""

    words: str = ""
    hopeless: bool = False
    """Somebody has to make what is missing: GPUs do not wait for that."""


def prepared_since(manifest: Manifest) -> datetime | None:
    """Return since when a pod's volumes and network are being prepared; None: they are not, or are there."""
    status = manifest.get("status") or {}
    if status.get("phase", "Pending") != "Pending" or status.get("podIP"):
        return None
    if failure.condition(manifest, "PodReadyToStartContainers").get("status") == "True":
        return None
    scheduled = failure.condition(manifest, "PodScheduled")
    return failure.time_of(scheduled.get("lastTransitionTime")) if scheduled.get("status") == "True" else None


def seconds_to_look(preparing: datetime | None, now: datetime) -> float | None:
    """Return after how many seconds the Events of a pod are worth a look, more than 0; None: never."""
    if preparing is None:
        return None
    left = (preparing + PATIENCE - now).total_seconds()
    return left if left > 0 else LOOK_SECONDS


def trouble_of(events: Iterable[Manifest]) -> Trouble:
    """Return what the newest Event about volumes or network says; a cause goes before the sum of them."""
    told = [event for event in events if event.get("reason") in _REASONS]
    if not told:
        return Trouble()
    newest = max(told, key=lambda event: (not _words(event).startswith(_SUMMARY), _last(event)))
    words = _words(newest)
    return Trouble(words=f"{newest['reason']}: {words}", hopeless=bool(_HOPELESS.search(words)))


def _words(event: Mapping[str, Any]) -> str:
    return str(event.get("message") or "no message").strip()


def _last(event: Mapping[str, Any]) -> datetime:
    series = event.get("series") or {}
    said = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return parse_time(said or event["metadata"]["creationTimestamp"])

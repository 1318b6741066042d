"""What a pod's manifest says of its troubles: why it waits, how its start failed, who takes it away.

Pure. It knows how Kubernetes reports on a pod, and nothing of what the engine says in its log.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from tertium.api.meta import Manifest, parse_time
from tertium.core import names
from tertium.core.diagnosis import Diagnosis

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
_NO_IMAGE: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull"})
_TAINTED: Final = "DeletionByTaintManager"
_WORDS_LIMIT: Final = 2000
"""Letters of a log that are shown; the status has room for twice as many."""
_OWN_PORT: Final = re.compile(r"((?:\d+\.){3}\d+|\[[0-9a-f:]+\]):\d+->")
"""A connection's own port in an error of the network: it is another in every try."""

_GENERATED: Final = re.compile(r'^pods? "[^"]*" (?:is )?')


@dataclass(frozen=True, slots=True, kw_only=True)
class StartFailure:
    """A start that failed. `words` is what the engine or the kubelet said."""

    words: str
    exit_code: int | None = None
    """None: the container never ran, was killed, or has not ended; its log has no reason to read."""
    restarted: bool = False
    """The log of the failed run is the previous one."""
    diagnosis: Diagnosis | None = None
    """What its log comes down to; None: it was not read, or says nothing."""

    @property
    def message(self) -> str:
        """One sentence for the condition."""
        words = self.words[:_WORDS_LIMIT]
        if self.exit_code is None:
            return words
        ended = f"The engine ended with exit code {self.exit_code}"
        return f"{ended}: {words}" if words else f"{ended} and said nothing"


def failure_of(manifest: Manifest) -> StartFailure | None:
    """Return how a pod's start failed, or None.

    | pod or engine container                       | Ready condition           | result              |
    | waits for an image or a config it cannot have | any                       | the kubelet's words |
    | any                                           | True since that start     | None: it had served |
    | the pod ended: evicted, refused by the node   | not True since that start | the kubelet's words |
    | ended, exit code 0                            | any                       | None                |
    | killed for its memory                         | not True since that start | that, and its limit |
    | ended, exit code not 0                        | not True since that start | the failure         |
    """
    container, status = container_status(manifest), manifest.get("status") or {}
    waiting = state(container, "waiting")
    if waiting.get("reason") in _HOPELESS:
        return StartFailure(words=_waiting_words(container, waiting))
    ended = state(container, "terminated")
    restarted = not ended
    ended = ended or (container.get("lastState") or {}).get("terminated") or {}
    if has_served(manifest, time_of(ended.get("startedAt"))):
        return None
    if status.get("phase") == "Failed" and status.get("reason"):
        return StartFailure(words=_end_words(manifest))
    if not ended or ended.get("exitCode", 0) == 0:
        return None
    if ended.get("reason") == "OOMKilled":
        return StartFailure(words=_out_of_memory(manifest))
    words = str(ended.get("message") or "").strip()
    return StartFailure(words=words, exit_code=int(ended["exitCode"]), restarted=restarted)


def why_waiting(manifest: Manifest) -> str:
    """Return why a pod has not started: the scheduler's words, else the first waiting container's."""
    status = manifest.get("status") or {}
    scheduled = condition(manifest, "PodScheduled")
    if scheduled.get("status") == "False":
        return str(scheduled.get("message") or scheduled.get("reason") or "not scheduled")
    for container in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        waiting = state(container, "waiting")
        if waiting.get("message"):
            return _waiting_words(container, waiting)
    return ""


def refused_words(message: str) -> str:
    """Say why the API server refuses a pod, without the name that every try makes up; empty: it does not."""
    return f"The API server refuses the engine's pod: {_GENERATED.sub('', message)}" if message else ""


def is_lost(manifest: Manifest) -> bool:
    """Whether a pod was deleted because its node does not answer or has a taint that drives it out."""
    target = condition(manifest, "DisruptionTarget")
    return target.get("status") == "True" and target.get("reason") == _TAINTED


def taken_by(manifest: Manifest) -> str:
    """Say who takes a pod away though nobody scaled it down, by Kubernetes' own mark; empty: nobody."""
    target = condition(manifest, "DisruptionTarget")
    if target.get("status") != "True":
        return ""
    node = f"node {(manifest.get('spec') or {}).get('nodeName') or '(none)'}"
    if is_lost(manifest):
        return f"A replica is lost: {node} does not answer, or its taints allow it no longer"
    match target.get("reason"):
        case "PreemptionByScheduler":
            return f"A replica on {node} gave way to a pod of higher priority"
        case other:
            return f"A replica on {node} was evicted ({other})"


def has_served(manifest: Manifest, started: datetime | None) -> bool:
    """Whether the Ready condition has turned since the container started: before, it was False."""
    ready = condition(manifest, "Ready")
    turned = time_of(ready.get("lastTransitionTime"))
    return ready.get("status") == "True" or bool(started and turned and turned > started)


def condition(manifest: Manifest, kind: str) -> Mapping[str, Any]:
    """Return a condition of a pod; empty where it has none of that type."""
    conditions = (manifest.get("status") or {}).get("conditions") or ()
    return next((condition for condition in conditions if condition["type"] == kind), {})


def container_status(manifest: Manifest) -> Mapping[str, Any]:
    """Return the status of the engine's container; empty while there is none."""
    return _engine((manifest.get("status") or {}).get("containerStatuses"))


def resources(manifest: Manifest, kind: str) -> Mapping[str, Any]:
    """Return the engine container's `limits` or `requests`."""
    container = _engine((manifest.get("spec") or {}).get("containers"))
    return (container.get("resources") or {}).get(kind) or {}


def state(container: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """Return `running`, `waiting` or `terminated` of a container's status; empty where it is not that."""
    return (container.get("state") or {}).get(kind) or {}


def time_of(text: str | None) -> datetime | None:
    """Read a time that may be absent."""
    return parse_time(text) if text else None


def _engine(containers: Any) -> Mapping[str, Any]:
    return next((item for item in containers or () if item["name"] == names.ENGINE_CONTAINER), {})


def _out_of_memory(manifest: Manifest) -> str:
    limit = resources(manifest, "limits").get("memory")
    if limit is None:
        return "The engine was killed (OOMKilled): its node has not enough main memory"
    return (
        f"The engine was killed (OOMKilled): it needs more main memory than its limit of {limit}; "
        "raise spec.template.resources.limits.memory"
    )


def _end_words(manifest: Manifest) -> str:
    """Say why a whole pod ended; only the first sentence, for the others hold what was measured then."""
    status = manifest["status"]
    message = str(status.get("message") or condition(manifest, "DisruptionTarget").get("message") or "")
    sentence = message.partition(". ")[0].rstrip(".")
    return f"{status['reason']}: {sentence}" if sentence else str(status["reason"])


def _waiting_words(container: Mapping[str, Any], waiting: Mapping[str, Any]) -> str:
    """Say what a container waits for, in words that stay the same from one try to the next."""
    said = _OWN_PORT.sub(r"\1->", str(waiting.get("message") or "no message"))
    reason, image = waiting["reason"], container.get("image", "")
    if reason not in _NO_IMAGE:
        return f"{reason}: {said}"
    why = said.removeprefix(f'Back-off pulling image "{image}"').removeprefix(": ")
    return f"{reason}: the image {image!r} cannot be pulled" + (f": {why}" if why else "")

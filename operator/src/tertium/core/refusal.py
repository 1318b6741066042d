"""Why a deployment cannot answer, where that is known: what held and new requests are told at once.

Pure: from the object as the API server has it. What runs right now is not its business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from tertium.api.conditions import ConditionType, Reason
from tertium.api.meta import Manifest
from tertium.core.lifecycle import rest_seconds

_NEEDED: Final = (ConditionType.ACCEPTED, ConditionType.PLANNED, ConditionType.WEIGHTS_READY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A known reason, as one word, and the sentence that explains it to the caller."""

    reason: str
    message: str


def refusal_of(manifest: Manifest) -> Refusal | None:
    """Return why no replica can be had, or None while one can be waited for.

    | what the object says                                        | result                        |
    | `spec.suspend` is true                                      | refused: it sleeps on purpose |
    | `spec.replicas` is 0                                        | refused: nothing may start    |
    | Accepted, Planned or WeightsReady is False, this generation | refused with its words        |
    | Active is False because of StartFailed, this generation     | refused with the engine's     |
    | the same for an older generation                            | None: the operator will look  |
    | anything else                                               | None                          |
    """
    spec = manifest.get("spec", {})
    if spec.get("suspend"):
        message = "its `spec.suspend` is true; set it to false and requests wake the model"
        return Refusal(reason=Reason.SUSPENDED, message=message)
    if spec.get("replicas") == 0:
        message = "its `spec.replicas` is pinned to 0; raise or remove it and requests wake the model"
        return Refusal(reason=Reason.PINNED_TO_ZERO, message=message)
    conditions = current_conditions(manifest)
    for kind in _NEEDED:
        condition = conditions.get(kind)
        if condition is not None and condition["status"] == "False":
            return _refused(condition)
    active = conditions.get(ConditionType.ACTIVE)
    if active is not None and active["status"] == "False" and active["reason"] == Reason.START_FAILED:
        return _refused(active, _next_try(manifest))
    return None


def current_conditions(manifest: Manifest) -> dict[str, dict[str, Any]]:
    """Return the conditions that were said about the generation the object now has, by type."""
    generation = manifest["metadata"].get("generation", 0)
    found = manifest.get("status", {}).get("conditions", ())
    return {item["type"]: item for item in found if item.get("observedGeneration", 0) == generation}


def _refused(condition: dict[str, Any], more: str = "") -> Refusal:
    return Refusal(reason=condition["reason"], message=condition.get("message", "") + more)


def _next_try(manifest: Manifest) -> str:
    failures = manifest.get("status", {}).get("startFailures") or {}
    rest = rest_seconds(failures.get("count", 1))
    return f". It is tried again {rest:.0f} s after the failure at {failures['lastAt']}" if failures else ""

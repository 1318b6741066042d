"""Why a deployment cannot answer, where that is known: what held and new requests are told at once.

Pure: from the object as the API server has it. What runs right now is not its business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from tertium.api.conditions import ConditionType, Reason
from tertium.api.meta import Manifest

PINNED_TO_ZERO: Final = "PinnedToZero"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A known reason, as one word, and the sentence that explains it to the caller."""

    reason: str
    message: str


def refusal_of(manifest: Manifest) -> Refusal | None:
    """Return why no replica can be had, or None while one can be waited for.

    | what the object says                                     | result                       |
    | `spec.replicas` is 0                                     | refused: nothing may start   |
    | Accepted or Planned is False, for this generation        | refused with its words       |
    | Active is False because of StartFailed, this generation  | refused with the engine's    |
    | the same for an older generation                         | None: the operator will look |
    | anything else                                            | None                         |
    """
    if manifest.get("spec", {}).get("replicas") == 0:
        return Refusal(
            reason=PINNED_TO_ZERO,
            message="its `spec.replicas` is pinned to 0; raise or remove it and requests wake the model",
        )
    conditions = current_conditions(manifest)
    for kind in (ConditionType.ACCEPTED, ConditionType.PLANNED):
        condition = conditions.get(kind)
        if condition is not None and condition["status"] == "False":
            return _refused(condition)
    active = conditions.get(ConditionType.ACTIVE)
    if active is not None and active["status"] == "False" and active["reason"] == Reason.START_FAILED:
        return _refused(active)
    return None


def current_conditions(manifest: Manifest) -> dict[str, dict[str, Any]]:
    """Return the conditions that were said about the generation the object now has, by type."""
    generation = manifest["metadata"].get("generation", 0)
    found = manifest.get("status", {}).get("conditions", ())
    return {item["type"]: item for item in found if item.get("observedGeneration", 0) == generation}


def _refused(condition: dict[str, Any]) -> Refusal:
    return Refusal(reason=condition["reason"], message=condition.get("message", ""))

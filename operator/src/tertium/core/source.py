"""Where a model's files are, as `spec.model.source` says it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from tertium.api.conditions import Reason
from tertium.core.errors import Terminal

_SEGMENT: Final = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
_HUB: Final = re.compile(rf"hf://({_SEGMENT}/{_SEGMENT})")
_CLAIM: Final = re.compile(rf"pvc://([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)/({_SEGMENT}(?:/{_SEGMENT})*)")


@dataclass(frozen=True, slots=True)
class HubSource:
    """A repository of a model hub, `ORG/NAME`."""

    repository: str

    def __str__(self) -> str:
        return f"hf://{self.repository}"


@dataclass(frozen=True, slots=True)
class ClaimSource:
    """A folder of a PersistentVolumeClaim in the deployment's namespace."""

    claim: str
    path: str

    def __str__(self) -> str:
        return f"pvc://{self.claim}/{self.path}"


def parse_source(text: str) -> HubSource | ClaimSource:
    """Read a source. Raises Terminal when it has no form that is known, naming the forms that are."""
    if hub := _HUB.fullmatch(text):
        return HubSource(hub[1])
    if claim := _CLAIM.fullmatch(text):
        return ClaimSource(claim[1], claim[2])
    raise Terminal(
        Reason.INVALID, f"spec.model.source: {text!r} is neither hf://ORG/NAME nor pvc://CLAIM/PATH"
    )

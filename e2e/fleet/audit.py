"""What Tertium asked of the API server, from the server's own audit log."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

WRITES: Final = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One answered request."""

    verb: str
    resource: str
    """With its subresource."""
    namespace: str
    """Empty: all, or none."""

    @property
    def is_write(self) -> bool:
        """Whether it asked for a change."""
        return self.verb in WRITES


class Audit:
    """The log, read from where the last `take` ended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size if path.exists() else 0

    def take(self) -> list[Call]:
        """Return the calls answered since this object was made or last asked."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as log:
            log.seek(self._offset)
            data = log.read()
        whole, newline, _ = data.rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        events = (json.loads(line) for line in whole.splitlines())
        return [_call(event) for event in events if event["stage"] == "ResponseComplete"]


def tally(calls: Iterable[Call]) -> dict[str, int]:
    """Count calls by verb and resource, for a message."""
    return dict(Counter(f"{call.verb} {call.resource}" for call in calls))


def _call(event: dict[str, Any]) -> Call:
    target = event.get("objectRef", {})
    resource = "/".join(filter(None, (target.get("resource", ""), target.get("subresource", ""))))
    return Call(
        verb=event["verb"],
        resource=resource or event["requestURI"],
        namespace=target.get("namespace", ""),
    )

"""What a deployment's starts have taught, as it is kept in its ConfigMap. Pure data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from tertium.core.planner import Measured, Repair


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """All that is known of one deployment's starts."""

    measured: Mapping[str, Measured] = field(default_factory=dict)
    repairs: Mapping[str, Repair] = field(default_factory=dict)
    answered: tuple[str, ...] = ()
    """Revisions whose failed start was answered by a repair: nothing more is started by them."""

    @classmethod
    def parse(cls, text: str) -> Learned:
        """Read what `dump` wrote. What cannot be read counts as nothing: it will be learned again."""
        try:
            document = json.loads(text)
            return cls(
                measured={key: Measured(**value) for key, value in document["measured"].items()},
                repairs={key: Repair(**value) for key, value in document["repairs"].items()},
                answered=tuple(map(str, document["answered"])),
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            return cls()

    def dump(self) -> str:
        """Return it as JSON, in the order in which it was learned; empty when nothing is known."""
        if self == Learned():
            return ""
        document = {
            "measured": {key: _known(value) for key, value in self.measured.items()},
            "repairs": {key: _known(value) for key, value in self.repairs.items()},
            "answered": list(self.answered),
        }
        return json.dumps(document, separators=(",", ":"))


NOTHING: Final = Learned()


def _known(value: Measured | Repair) -> Mapping[str, Any]:
    return {name: number for name, number in asdict(value).items() if number is not None}

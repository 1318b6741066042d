"""How long a caller wants to be held, from headers. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tertium.core.routing import Model
from tertium.gateway import answers
from tertium.gateway.answers import Answer
from tertium.render.envoy.layout import ASKED_HOLD_HEADER

HOLD_HEADER: Final = "X-Tertium-Hold-Seconds"
SCALE_UP_HEADER: Final = "X-Scale-Up-Timeout"
"""What clients of Hugging Face's endpoints send."""
_DIGITS: Final = 9


def wish_of(headers: Mapping[str, str]) -> int | Answer | None:
    """Return the seconds a caller asks for, None where it does not say, or what is wrong with what it says.

    | X-Tertium-Hold-Seconds | X-Scale-Up-Timeout | result           |
    | absent                 | absent             | None             |
    | n                      | any                | n                |
    | absent                 | n                  | n                |
    | anything else          | any                | 400 that says so |
    | absent                 | anything else      | 400 that says so |
    """
    # Envoy strips all headers of ours from what callers send, and hands this one over under another name.
    for name, sent in ((HOLD_HEADER, ASKED_HOLD_HEADER), (SCALE_UP_HEADER, SCALE_UP_HEADER)):
        text = headers.get(sent)
        if text is None:
            continue
        if text.isascii() and text.isdecimal() and len(text) <= _DIGITS:
            return int(text)
        message = (
            f"The header {name} is '{text[:40]}'; a whole number of seconds was expected: how long the "
            "request may be held while the model starts, 0 for not at all."
        )
        return answers.error(400, "invalid_hold_seconds", message, param=name)
    return None


def hold_seconds(model: Model, wish: int | None) -> int:
    """Return for how long a request is held.

    | the caller asks for                  | result                            |
    | nothing                              | `holdSeconds`, or 0 with `Reject` |
    | up to `maxHoldSeconds`               | that                              |
    | more                                 | `maxHoldSeconds`                  |
    """
    return model.hold_seconds if wish is None else min(wish, model.max_hold_seconds)

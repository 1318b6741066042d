"""HTTP status of an API server's answer -> error of the core, in one table."""

from __future__ import annotations

import json
from typing import Final

from tertium.api.conditions import Reason
from tertium.core.errors import Retryable, Terminal, TertiumError

_REFUSED: Final = {
    400: Reason.INVALID,
    403: Reason.FORBIDDEN,
    405: Reason.INVALID,
    413: Reason.INVALID,
    415: Reason.INVALID,
    422: Reason.INVALID,
}
"""The request itself cannot work. Everything else passes: 401 (a rotated token), 404 (a name not there yet
or no longer), 409, 410, 429, 5xx."""

_MISTYPED: Final = "failed to create typed patch object"
"""What a server-side apply of a field of the wrong type is answered with, as 500: it will not pass."""
_MESSAGE_LIMIT: Final = 2000


def error_of(status: int, what: str, body: str, retry_after: str | None) -> TertiumError:
    """Return the error for an answer with a status of 400 or more; `what` names verb, kind and object."""
    message = message_of(body)
    said = f"{what}: the API server answered {status}: {message}"
    reason = Reason.INVALID if message.startswith(_MISTYPED) else _REFUSED.get(status)
    if reason is not None:
        return Terminal(reason, said)
    return Retryable(said, after=_seconds(retry_after))


def message_of(body: str) -> str:
    """Return the message of a `metav1.Status`, or the text itself where the answer is none."""
    try:
        status = json.loads(body)
    except ValueError:
        status = None
    message = status.get("message") if isinstance(status, dict) else None
    text = message if isinstance(message, str) and message else body.strip() or "no message"
    return text[:_MESSAGE_LIMIT]


def _seconds(retry_after: str | None) -> float | None:
    """Read Retry-After in seconds; its date form is never sent by an API server."""
    if retry_after is None or not retry_after.isdecimal():
        return None
    return float(retry_after)

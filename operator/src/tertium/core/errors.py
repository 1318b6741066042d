"""The error tree. Raised anywhere below the controller, caught in exactly one place there.

TertiumError
├── Retryable(after)    a passing fault: conflict, throttling, time-out, 5xx
└── Terminal(reason)    the spec cannot work: a condition says why, a new generation is awaited

Any other exception is a bug: logged with its traceback, retried slowly.
"""

from __future__ import annotations

from tertium.api.conditions import Reason


class TertiumError(Exception):
    """Base of all errors of Tertium; the text is one sentence without a full stop."""


class Retryable(TertiumError):
    """A passing fault. `after` is the wait in seconds the other side asked for, if it did."""

    def __init__(self, message: str, *, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class Terminal(TertiumError):
    """The spec cannot work as it stands."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason

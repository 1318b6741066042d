"""Which answers of an API server pass by themselves, and which never will."""

from __future__ import annotations

import json

import pytest

from tertium.api.conditions import Reason
from tertium.core.errors import Retryable, Terminal
from tertium.kube.errors import error_of

WHAT = "apply Deployment team-a/qwen"
MISTYPED = (
    "failed to create typed patch object (team-a/qwen; apps/v1, Kind=Deployment): "
    ".spec.template.spec.securityContext.runAsUser: expected numeric (int or float), got string"
)


@pytest.mark.parametrize(
    ("status", "message", "reason"),
    [
        pytest.param(
            422, "spec.replicas: Invalid value: -1", Reason.INVALID, id="an object that is not valid"
        ),
        pytest.param(403, "exceeded quota", Reason.FORBIDDEN, id="a change nobody may make"),
        pytest.param(
            500, MISTYPED, Reason.INVALID, id="a field of the wrong type, which is answered with 500"
        ),
    ],
)
def test_answers_that_never_pass(status: int, message: str, reason: Reason) -> None:
    error = error_of(status, WHAT, json.dumps({"message": message}), None)
    assert isinstance(error, Terminal)
    assert (error.reason, str(error)) == (reason, f"{WHAT}: the API server answered {status}: {message}")


@pytest.mark.parametrize(
    ("status", "retry_after", "after"),
    [
        pytest.param(409, None, None, id="a conflict"),
        pytest.param(429, "7", 7.0, id="too many requests, with the wait that was asked for"),
        pytest.param(500, "soon", None, id="a fault of the server, with a wait that is no number"),
    ],
)
def test_answers_that_pass(status: int, retry_after: str | None, after: float | None) -> None:
    error = error_of(status, WHAT, "etcdserver: leader changed", retry_after)
    assert isinstance(error, Retryable)
    assert error.after == after

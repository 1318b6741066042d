"""What is said within a stream: nothing anybody put into words can become an event of its own."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tertium.gateway.in_band import STREAMED, error_event, error_of, sign_of_life

ERROR = {"message": "no", "type": "server_error", "param": None, "code": "model_starting"}


def events(text: bytes) -> list[tuple[str, str]]:
    """The events of a stream as the standard has it: name and data; comments are none."""
    found = []
    for block in text.decode().split("\n\n"):
        fields = dict.fromkeys(("event", "data"), "")
        for line in block.splitlines():
            name, _, value = line.partition(":")
            if name in fields:
                fields[name] += value.removeprefix(" ")
        if fields["data"]:
            found.append((fields["event"], fields["data"]))
    return found


@settings(deadline=None)
@given(st.text(), st.text(max_size=20))
def test_a_sign_of_life_is_one_comment_whatever_the_operator_says(detail: str, phase: str) -> None:
    sign = sign_of_life("team/m", "waking", None, 3, detail + phase)
    assert sign.startswith(b": model=team/m phase=waking eta_seconds=unknown waited_seconds=3")
    assert sign.endswith(b"\n\n")
    assert len(sign.decode().splitlines()) == 2
    assert events(sign) == []


@settings(deadline=None)
@given(st.sampled_from([*STREAMED, "/v1/other"]), st.integers(400, 599), st.binary(max_size=2000))
def test_whatever_an_engine_answers_is_one_error_in_the_api_s_format(
    path: str, status: int, body: bytes
) -> None:
    found = events(error_event(path, status, error_of(status, body)))
    assert found[0][0] == ("error" if path in ("/v1/responses", "/v1/messages") else "")
    assert isinstance(json.loads(found[0][1]), dict)
    assert found[1:] in ([], [("", "[DONE]")])


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        pytest.param(400, {"error": {"message": "too long"}}, "too long", id="OpenAI's shape"),
        pytest.param(400, {"type": "error", "error": {"message": "too long"}}, "too long", id="Anthropic's"),
        pytest.param(400, {"object": "error", "message": "too long"}, "too long", id="old vLLM's"),
        pytest.param(
            500, "Internal Server Error", "The model answered 500: Internal Server Error", id="text"
        ),
        pytest.param(422, {"detail": []}, 'The model answered 422: {"detail": []}', id="another JSON"),
    ],
)
def test_an_engine_s_error_is_found_in_what_it_answers(status: int, body: Any, message: str) -> None:
    raw = body if isinstance(body, str) else json.dumps(body)
    assert error_of(status, raw.encode())["message"] == message


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (429, "rate_limit_error"),
        (503, "overloaded_error"),
        (502, "api_error"),
    ],
)
def test_anthropic_s_clients_get_their_own_kinds(status: int, kind: str) -> None:
    ((name, data),) = events(error_event("/v1/messages", status, ERROR))
    assert (name, json.loads(data)) == ("error", {"type": "error", "error": {"type": kind, "message": "no"}})

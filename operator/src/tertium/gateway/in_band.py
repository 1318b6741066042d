"""What is said within a stream that was answered with 200 before it was known how it ends. Pure.

The errors are those of each API, so that its clients raise them as they raise any other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

STREAMED: Final = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages")
"""The paths whose answers are streams of events where the body asks for one."""
BROKE_OFF: Final[Mapping[str, Any]] = {
    "message": "The model's answer broke off.",
    "type": "server_error",
    "param": None,
    "code": "upstream_failed",
}
"""The error of an answer that ended before its end. Where only Envoy is between, its filter says the same."""
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_DETAIL: Final = 300
_ANTHROPIC_KINDS: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


def sign_of_life(model: str, phase: str, eta: int | None, waited: int, detail: str) -> bytes:
    """Return a comment, which clients skip, with how far the start is; times in seconds.

    >>> sign_of_life("team/m", "waking", 60, 9, "WaitingForGPU: none is free").decode()
    ': model=team/m phase=waking eta_seconds=60 waited_seconds=9 detail="WaitingForGPU: none is free"\\n\\n'
    """
    known = "unknown" if eta is None else str(eta)
    # A line break of the operator's or the engine's words would be an event of theirs.
    words = _UNPRINTABLE.sub(" ", detail)[:_DETAIL].replace('"', "'")
    more = f' detail="{words}"' if words else ""
    return f": model={model} phase={phase} eta_seconds={known} waited_seconds={waited}{more}\n\n".encode()


def empty_event(path: str, model: str, created: int) -> bytes:
    """Return the first chunk of a chat as an engine sends it, without a word in it; nothing for other APIs.

    LangChain gives up an asynchronous stream on which no chunk has come for 120 s: to it a comment is none.

    >>> empty_event("/v1/messages", "team/m", 1)
    b''
    """
    if path != "/v1/chat/completions":
        return b""
    choice = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
    chunk = {"id": "chatcmpl-held", "object": "chat.completion.chunk", "created": created, "model": model}
    return f"data: {json.dumps({**chunk, 'choices': [choice]})}\n\n".encode()


def error_event(path: str, status: int, error: Mapping[str, Any]) -> bytes:
    """Return the end of a stream that failed; `error` is the object in an OpenAI error body.

    | path                 | result                                                                  |
    | /v1/responses        | `event: error` with `type`, `code`, `message`, `param` side by side     |
    | /v1/messages         | `event: error` with Anthropic's `{"type": "error", "error": {...}}`      |
    | anything else        | `data: {"error": {...}}`, then `data: [DONE]`                           |
    """
    if path == "/v1/responses":
        fields = {name: error.get(name) for name in ("code", "message", "param")}
        return _event("error", {"type": "error", "sequence_number": 0, **fields})
    if path == "/v1/messages":
        kind = _ANTHROPIC_KINDS.get(status, "api_error")
        return _event(
            "error", {"type": "error", "error": {"type": kind, "message": error.get("message", "")}}
        )
    return f"data: {json.dumps({'error': dict(error)})}\n\ndata: [DONE]\n\n".encode()


def error_of(status: int, body: bytes) -> Mapping[str, Any]:
    """Return the error object of an engine's or Envoy's answer; one that cannot be read is put into words."""
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if isinstance(found, dict):
        found = found.get("error", found)
    if isinstance(found, dict) and isinstance(found.get("message"), str):
        return found
    words = body[:_DETAIL].decode("utf-8", "replace")
    return {
        "message": f"The model answered {status}: {words}",
        "type": "server_error",
        "param": None,
        "code": "upstream_failed",
    }


def _event(name: str, data: Mapping[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()

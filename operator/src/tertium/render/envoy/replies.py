"""Errors that Envoy answers by itself, in the shape of OpenAI's API."""

from __future__ import annotations

from typing import Final

from tertium.render.envoy.keys import build_key_replies
from tertium.render.envoy.layout import BODY_LIMIT_BYTES, Resource

_MEBIBYTES: Final = BODY_LIMIT_BYTES // (1024 * 1024)


def build_local_replies() -> Resource:
    """Return the mapping from Envoy's own answers to error bodies; the first that matches is taken."""
    return {
        "mappers": [
            *build_key_replies(),
            _mapper(
                413,
                "EQ",
                f"The request body is larger than {_MEBIBYTES} MiB, the most this gateway takes.",
                "invalid_request_error",
                "request_too_large",
            ),
            _mapper(
                503,
                "EQ",
                "The model could not be reached just now: %LOCAL_REPLY_BODY%.",
                "server_error",
                "upstream_unavailable",
                retry_after_seconds=2,
            ),
            _mapper(
                500,
                "GE",
                "The model's answer failed on its way: %LOCAL_REPLY_BODY%.",
                "server_error",
                "upstream_failed",
            ),
            _mapper(
                400,
                "GE",
                "The request was refused: %LOCAL_REPLY_BODY% (%RESPONSE_CODE_DETAILS%).",
                "invalid_request_error",
                "bad_request",
            ),
        ]
    }


def _mapper(
    status: int,
    comparison: str,
    message: str,
    kind: str,
    code: str,
    *,
    retry_after_seconds: int | None = None,
) -> Resource:
    mapper: Resource = {
        "filter": {
            "status_code_filter": {
                "comparison": {
                    "op": comparison,
                    "value": {"default_value": status, "runtime_key": f"tertium.reply.{code}"},
                }
            }
        },
        "body_format_override": {
            "json_format": {"error": {"message": message, "type": kind, "param": None, "code": code}},
            "content_type": "application/json",
        },
    }
    if retry_after_seconds is not None:
        mapper["headers_to_add"] = [
            {
                "header": {"key": "retry-after", "value": str(retry_after_seconds)},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
        ]
    return mapper

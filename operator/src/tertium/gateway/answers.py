"""What the activator says by itself, in the shape of OpenAI's API. Pure: no request object, no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tertium.core.refusal import Refusal
from tertium.core.routing import Model, RoutingTable
from tertium.gateway.waiters import Full
from tertium.render.envoy.filter import (
    API_PATHS,
    BODY_NOT_JSON,
    FORM_BROKEN,
    FORM_CONTENT_TYPE,
    JSON_CONTENT_TYPE,
    MODEL_MISSING,
    MODEL_UNKNOWN,
)
from tertium.render.envoy.layout import RELEASED

_LEAST_RETRY_SECONDS: Final = 5
_MOST_RETRY_SECONDS: Final = 110
"""OpenAI's client does not retry at all when it is told to wait for more than 120 s."""
_UNKNOWN_RETRY_SECONDS: Final = 30
_SHOWN: Final = 100
_SHOULD_RETRY: Final = {"x-should-retry": "true"}
"""What OpenAI's and Anthropic's clients obey."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Status, JSON body and headers."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is known of a request that leads to no deployment."""

    problem: str
    method: str
    path: str
    model: str = ""
    content_type: str = ""
    content_encoding: str = ""


def error(
    status: int,
    code: str,
    message: str,
    *,
    param: str | None = None,
    retry_after: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """An error answer; `retry_after` in seconds."""
    kind = "invalid_request_error" if status < 500 and status != 429 else "server_error"
    kind = "rate_limit_error" if status == 429 else kind
    more = {} if retry_after is None else {"Retry-After": str(retry_after)}
    body = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    return Answer(status=status, body=body, headers={**more, **(headers or {})})


def released(model: Model) -> Answer:
    """Tells Envoy to send the request it still has to a replica; seen, as a 503, only if none takes it."""
    message = f"The model '{model.key}' was started, but no replica of it takes the request. Try again."
    return error(RELEASED, "model_unavailable", message, retry_after=1)


def refused(model: Model, refusal: Refusal) -> Answer:
    """The model cannot be started as it stands."""
    message = f"The model '{model.key}' cannot be started ({refusal.reason}): {refusal.message}"
    return error(503, "model_unavailable", message, param="model")


def waking(model: Model, state: str, fault: str, eta: int | None) -> Answer:
    """The model starts, and this caller is not held. `eta` here and below: seconds it will take, if known."""
    message = f"The model '{model.key}' is starting"
    message += f"; its start could not be asked for: {fault}" if fault else ""
    wait = retry_after(eta)
    answer = error(503, "model_starting", f"{message}. Try again in {wait} s.", retry_after=wait)
    told = answer.body["error"] | {"eta_seconds": eta, "phase": state}
    return Answer(status=503, body={"error": told}, headers={**answer.headers, **_SHOULD_RETRY})


def gave_up(model: Model, seconds: int, fault: str, eta: int | None) -> Answer:
    """The request was held for so many seconds, as long as it may be."""
    message = f"The model '{model.key}' was still starting after {seconds} s"
    if fault:
        message += f"; its start could not be asked for: {fault}"
    elif model.progress:
        message += f" ({model.progress})"
    return error(503, "model_starting", f"{message}. Try again later.", retry_after=retry_after(eta))


def too_many(model: Model, full: Full, eta: int | None) -> Answer:
    """There is no room for one more held request."""
    message = {
        Full.MODEL: f"{model.max_pending} requests already wait for the model '{model.key}' to start, the "
        "most that its `spec.coldStart.maxPending` allows.",
        Full.REQUESTS: "This gateway holds as many requests for models that start as it may.",
        Full.BYTES: "The requests for models that start are so large that this gateway holds no more.",
    }[full]
    return error(429, "too_many_pending", f"{message} Try again later.", retry_after=retry_after(eta))


def stopping() -> Answer:
    """This gateway pod ends, and another one will hold the request."""
    message = "The gateway's replica that held this request is being replaced. Try again."
    return error(503, "gateway_stopping", message, retry_after=1, headers=_SHOULD_RETRY)


def not_found(name: str) -> Answer:
    """No deployment has this name."""
    message = f"The model '{name[:_SHOWN]}' does not exist. GET /v1/models lists those that do."
    return error(404, "model_not_found", message, param="model")


def not_synced() -> Answer:
    """This gateway has only just started and does not know the deployments yet."""
    return error(503, "gateway_starting", "The gateway is starting. Try again.", retry_after=1)


def retry_after(eta: int | None) -> int:
    """Seconds after which the model has probably started, within limits."""
    if eta is None:
        return _UNKNOWN_RETRY_SECONDS
    return min(max(eta, _LEAST_RETRY_SECONDS), _MOST_RETRY_SECONDS)


def explain(asked: Asked, table: RoutingTable) -> Answer:
    """Say what is wrong with a request that leads to no deployment; the first thing wrong is named."""
    for rule in (_wrong_path, _wrong_method, _wrong_content, _wrong_model):
        answer = rule(asked, table)
        if answer is not None:
            return answer
    return error(
        400,
        "model_invalid",
        "The field `model` is not the name of a model: a text of printable ASCII characters was expected.",
        param="model",
    )


def _wrong_path(asked: Asked, table: RoutingTable) -> Answer | None:
    if re.fullmatch(API_PATHS, asked.path):
        return None
    message = f"There is nothing at '{asked.path[:_SHOWN]}'. The API is under /v1/."
    return error(404, "path_not_found", message)


def _wrong_method(asked: Asked, table: RoutingTable) -> Answer | None:
    if asked.method == "POST":
        return None
    message = f"{asked.method[:20]} is not allowed at '{asked.path[:_SHOWN]}'; requests for a model are POST."
    return error(405, "method_not_allowed", message, headers={"Allow": "POST"})


def _wrong_content(asked: Asked, table: RoutingTable) -> Answer | None:
    is_form = re.fullmatch(FORM_CONTENT_TYPE, asked.content_type)
    if not is_form and not re.fullmatch(JSON_CONTENT_TYPE, asked.content_type):
        found = f"is '{asked.content_type[:_SHOWN]}'" if asked.content_type else "is missing"
        message = f"The header Content-Type {found}; 'application/json' was expected."
        return error(415, "unsupported_content_type", message)
    if asked.content_encoding.lower() not in ("", "identity"):
        message = f"The body is encoded as '{asked.content_encoding[:_SHOWN]}'; send it without an encoding."
        return error(415, "unsupported_content_encoding", message)
    if asked.problem == BODY_NOT_JSON:
        return error(400, "body_not_json", "The request body is not valid JSON.")
    if asked.problem == FORM_BROKEN:
        return error(400, "body_not_form", "The request body is not a valid form (multipart/form-data).")
    return None


def _wrong_model(asked: Asked, table: RoutingTable) -> Answer | None:
    if asked.problem == MODEL_MISSING:
        message = "The body has no field `model` that names a model; GET /v1/models lists the names."
        return error(400, "model_missing", message, param="model")
    if asked.problem != MODEL_UNKNOWN:
        return None
    model = table.find(asked.model)
    if model is not None:  # it has only just appeared, and Envoy did not know it yet
        message = f"The model '{model.key}' was just created. Try again."
        return error(503, "model_starting", message, retry_after=1)
    return not_found(asked.model)


def model_list(entries: Iterable[Mapping[str, Any]]) -> Answer:
    """All models, sleeping ones included."""
    return Answer(status=200, body={"object": "list", "data": list(entries)})


def model_entry(name: str, model: Model, state: str, eta: int | None) -> Mapping[str, Any]:
    """One model as OpenAI's API lists it, and what only Tertium knows of it."""
    more: dict[str, Any] = {"deployment": str(model.key), "state": state}
    if state in ("idle", "waking") and eta is not None:
        more["eta_seconds"] = eta
    if state == "unavailable" and model.refusal is not None:
        more |= {"reason": model.refusal.reason, "message": model.refusal.message}
    return {
        "id": name,
        "object": "model",
        "created": int(model.created.timestamp()),
        "owned_by": model.key.namespace,
        "tertium": more,
    }

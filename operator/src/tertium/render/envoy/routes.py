"""Which request goes where: a model's name to its cluster, everything else to the activator's own answers.

The filter in `listener.py` has put `model` of a JSON body, or what is wrong with that body, into metadata;
the last routes tell the activator which, so that it never has to read a body.
"""

from __future__ import annotations

from typing import Final

from tertium.api.meta import ObjectKey
from tertium.core.routing import RoutingTable
from tertium.render.envoy.layout import (
    ACTIVATOR_CLUSTER,
    DEPLOYMENT_HEADER,
    LONGEST_STREAM,
    METADATA,
    MODEL_HEADER,
    PROBLEM_HEADER,
    RELEASE_HEADER,
    RELEASE_VALUE,
    ROUTES,
    TYPES,
    Resource,
)
from tertium.render.envoy.usage import ROUTE_KEY

MODEL_MISSING: Final = "model_missing"
BODY_NOT_JSON: Final = "body_not_json"
MODEL_UNKNOWN: Final = "model_unknown"
UNROUTED: Final = "unrouted"

_POST: Final = {"name": ":method", "string_match": {"exact": "POST"}}
_SAFE_NAME: Final = "[!-~]+"


def build_routes(table: RoutingTable) -> Resource:
    """Return the route configuration: a route for each name of a model, then what leads to none."""
    models = [_model_route(name, key, table.models[key].uid) for name, key in sorted(table.routes.items())]
    return {
        "@type": f"{TYPES}.config.route.v3.RouteConfiguration",
        "name": ROUTES,
        "response_headers_to_remove": [RELEASE_HEADER],
        "virtual_hosts": [
            {
                "name": "all",
                "domains": ["*"],
                "include_request_attempt_count": True,
                "routes": [*models, *_answers()],
            }
        ],
    }


def _model_route(name: str, key: ObjectKey, uid: str) -> Resource:
    return {
        "name": str(key),
        "match": {"prefix": "/v1/", "headers": [_POST], "dynamic_metadata": [_metadata("model", name)]},
        "request_headers_to_add": [_set(DEPLOYMENT_HEADER, str(key))],
        "metadata": {"filter_metadata": {METADATA: {ROUTE_KEY: f"{key}|{uid}"}}},
        "route": {
            "cluster": str(key),
            "timeout": "0s",
            "idle_timeout": LONGEST_STREAM,
            "retry_policy": _RETRY,
        },
    }


_RETRY: Final[Resource] = {
    "retry_on": "connect-failure,refused-stream,reset-before-request,retriable-headers",
    "retriable_headers": [{"name": RELEASE_HEADER, "string_match": {"exact": RELEASE_VALUE}}],
    "num_retries": 5,
    "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.1s"},
    "retry_host_predicate": [
        {
            "name": "previous_hosts",
            "typed_config": {
                "@type": f"{TYPES}.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
            },
        }
    ],
    "host_selection_retry_max_attempts": 5,
    # Two replicas that refuse connections, and the third attempt asks the activator, which looks for itself.
    "retry_priority": {
        "name": "previous_priorities",
        "typed_config": {
            "@type": f"{TYPES}.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
            "update_frequency": 2,
        },
    },
}


def _answers() -> list[Resource]:
    """Routes of requests that lead to no deployment. A matcher that comes earlier is the more precise one."""
    known_name = {
        "filter": METADATA,
        "path": [{"key": "model"}],
        "value": {"string_match": {"safe_regex": {"regex": _SAFE_NAME}}},
    }
    shown = f"%DYNAMIC_METADATA({METADATA}:model):256%"
    post = {"prefix": "/v1/", "headers": [_POST]}
    return [
        _answer(
            MODEL_MISSING,
            {**post, "dynamic_metadata": [_metadata("body", MODEL_MISSING)]},
        ),
        _answer(
            BODY_NOT_JSON,
            {**post, "dynamic_metadata": [_metadata("body", BODY_NOT_JSON)]},
        ),
        # Only a name of plain characters is passed on: a header must not carry line breaks of the caller's.
        _answer(MODEL_UNKNOWN, {**post, "dynamic_metadata": [known_name]}, _set(MODEL_HEADER, shown)),
        _answer(UNROUTED, {"prefix": "/"}),
    ]


def _answer(problem: str, match: Resource, *headers: Resource) -> Resource:
    return {
        "name": problem,
        "match": match,
        "request_headers_to_add": [_set(PROBLEM_HEADER, problem), *headers],
        "route": {"cluster": ACTIVATOR_CLUSTER, "timeout": "30s"},
    }


def _metadata(key: str, value: str) -> Resource:
    return {"filter": METADATA, "path": [{"key": key}], "value": {"string_match": {"exact": value}}}


def _set(name: str, value: str) -> Resource:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}

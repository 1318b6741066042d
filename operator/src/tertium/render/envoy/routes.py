"""Which request goes where: a model's name to its cluster, everything else to the activator's own answers.

Our filter has left the name that a body's `model` has, or what is wrong with that body; the last routes tell
the activator which, so that it never has to read a body. A name is looked up, not searched for: with a
thousand deployments, trying one route after the other costs four times as much as all the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from envoy.config.route.v3.route_components_pb2 import Route
from envoy.config.route.v3.route_pb2 import RouteConfiguration

# Imported for their descriptors: the routes below carry messages of these kinds.
from envoy.extensions.matching.common_inputs.network.v3 import network_inputs_pb2  # noqa: F401
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2  # noqa: F401
from envoy.extensions.retry.priority.previous_priorities.v3 import (  # noqa: F401
    previous_priorities_config_pb2,
)
from envoy.type.matcher.v3 import http_inputs_pb2  # noqa: F401
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.json_format import ParseDict
from xds.core.v3.extension_pb2 import TypedExtensionConfig

from tertium.core.routing import Target
from tertium.render.envoy.affinity import ROUTE_BY_PREFIX
from tertium.render.envoy.filter import (
    BODY_NOT_JSON,
    FORM_BROKEN,
    MODEL_MISSING,
    PROBLEM,
    ROUTE_DEPLOYMENT,
    ROUTE_PREFIX,
)
from tertium.render.envoy.layout import (
    ACTIVATOR_CLUSTER,
    LONGEST_STREAM,
    LOOKUPS_HEADER,
    METADATA,
    MODEL_HEADER,
    MODEL_STATE,
    MOST_LOOKUPS,
    PROBLEM_HEADER,
    RELEASE_HEADER,
    RELEASE_VALUE,
    ROUTES,
    TYPES,
    Resource,
    message,
)

MODEL_UNKNOWN: Final = "model_unknown"
UNROUTED: Final = "unrouted"

_OPENAI: Final = "/v1/"
_OTHERS: Final = (
    r"/v2/(rerank|embed)|/(rerank|score|classify|pooling|tokenize|detokenize|invocations)"
    r"|/inference/v1/generate"
)
API_PATHS: Final = rf"{_OPENAI}.*|{_OTHERS}"
"""What the engine serves to callers, as far as a `model` in the body says which one is meant."""


def build_routes(models: Mapping[str, Target]) -> RouteConfiguration:
    """Return the route configuration: a route for each name of a model, and what leads to none."""
    routes = RouteConfiguration()
    routes.CopyFrom(_FRAME)
    by_name = routes.virtual_hosts[0].matcher.matcher_list.matchers[0].on_match.matcher
    if models:  # Envoy takes no empty map
        by_name.matcher_tree.input.CopyFrom(_NAME)
    packed = {target: _model_route(target) for target in set(models.values())}
    for name, target in models.items():
        action = by_name.matcher_tree.exact_match_map.map[name].action
        action.name = "route"
        action.typed_config.CopyFrom(packed[target])
    return routes


def _model_route(target: Target) -> Packed:
    route = Route()
    route.CopyFrom(_MODEL_ROUTE)
    route.name = route.route.cluster = str(target.key)
    facts = route.metadata.filter_metadata[METADATA]
    facts[ROUTE_DEPLOYMENT] = f"{target.key}|{target.uid}"
    if target.prefix_characters:
        facts[ROUTE_PREFIX] = target.prefix_characters
        ParseDict(ROUTE_BY_PREFIX, route)
    packed = Packed()
    packed.Pack(route)
    return packed


def _set(name: str, value: str) -> Resource:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


_MODEL_ROUTE: Final = message(
    Route,
    {
        "match": {"prefix": "/"},
        "route": {"timeout": "0s", "idle_timeout": LONGEST_STREAM},
    },
)

_RETRY: Final[Resource] = {
    # `reset` is a replica that ended before the first byte of its answer; after that nothing is tried again.
    "retry_on": "connect-failure,refused-stream,reset,retriable-headers",
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


def _frame() -> Resource:
    """The configuration without a model."""
    *_, unrouted = answers = _answers()
    by_name = {"on_no_match": _to("answers", answers)}
    return {
        "name": ROUTES,
        "response_headers_to_remove": [RELEASE_HEADER],
        "virtual_hosts": [
            {
                "name": "all",
                "domains": ["*"],
                "include_request_attempt_count": True,
                "retry_policy": _RETRY,
                "matcher": {
                    "matcher_list": {
                        "matchers": [{"predicate": _is_api_call(), "on_match": {"matcher": by_name}}]
                    },
                    "on_no_match": _to("unrouted", [unrouted]),
                },
            }
        ],
    }


def _is_api_call() -> Resource:
    others = {"safe_regex": {"google_re2": {}, "regex": rf"({_OTHERS})(\?.*)?"}}
    # What nearly all ask for comes first, and without a regular expression.
    path = {"or_matcher": {"predicate": [_header(":path", {"prefix": _OPENAI}), _header(":path", others)]}}
    return {"and_matcher": {"predicate": [_header(":method", {"exact": "POST"}), path]}}


def _header(name: str, match: Resource) -> Resource:
    header = {"@type": f"{TYPES}.type.matcher.v3.HttpRequestHeaderMatchInput", "header_name": name}
    return {"single_predicate": {"input": {"name": name, "typed_config": header}, "value_match": match}}


def _to(name: str, routes: list[Resource]) -> Resource:
    listed = {"@type": f"{TYPES}.config.route.v3.RouteList", "routes": routes}
    return {"action": {"name": name, "typed_config": listed}}


def _answers() -> list[Resource]:
    """Routes of requests that lead to no deployment. A matcher that comes earlier is the more precise one."""
    known_name = {"key": MODEL_STATE, "string_match": {"safe_regex": {"regex": ".+"}}}
    shown = f"%FILTER_STATE({MODEL_STATE}:PLAIN):256%"
    post: Resource = {"prefix": "/", "headers": [{"name": ":method", "string_match": {"exact": "POST"}}]}
    return [
        _answer(MODEL_MISSING, {**post, "dynamic_metadata": [_problem(MODEL_MISSING)]}),
        _answer(BODY_NOT_JSON, {**post, "dynamic_metadata": [_problem(BODY_NOT_JSON)]}),
        _answer(FORM_BROKEN, {**post, "dynamic_metadata": [_problem(FORM_BROKEN)]}),
        # A deployment may have appeared only just now: the activator has the request looked up again.
        _answer(
            MODEL_UNKNOWN,
            {**post, "filter_state": [known_name]},
            _set(MODEL_HEADER, shown),
            internal_redirect_policy={
                "max_internal_redirects": MOST_LOOKUPS,
                "redirect_response_codes": [307],
                "response_headers_to_copy": [LOOKUPS_HEADER],
            },
        ),
        _answer(UNROUTED, {"prefix": "/"}),
    ]


def _answer(problem: str, match: Resource, *headers: Resource, **action: Resource) -> Resource:
    return {
        "name": problem,
        "match": match,
        "request_headers_to_add": [_set(PROBLEM_HEADER, problem), *headers],
        "route": {"cluster": ACTIVATOR_CLUSTER, "timeout": "30s", **action},
    }


def _problem(value: str) -> Resource:
    return {"filter": METADATA, "path": [{"key": PROBLEM}], "value": {"string_match": {"exact": value}}}


_FRAME: Final = message(RouteConfiguration, _frame())
_NAME: Final = message(
    TypedExtensionConfig,
    {
        "name": "model",
        "typed_config": {
            "@type": f"{TYPES}.extensions.matching.common_inputs.network.v3.FilterStateInput",
            "key": MODEL_STATE,
        },
    },
)

"""Which request goes where: a model's name to its cluster, everything else to the activator's own answers.

Our filter has left the name that a body's `model` has. It is looked up, not searched for: with a thousand
deployments, trying one route after the other costs four times as much as all the rest. Each request is looked
up twice, first without a name: that is not to cost anything either.
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
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.json_format import ParseDict
from xds.core.v3.extension_pb2 import TypedExtensionConfig

from tertium.core.routing import Target
from tertium.render.envoy.affinity import ROUTE_BY_PREFIX
from tertium.render.envoy.filter import ROUTE_DEPLOYMENT, ROUTE_PREFIX
from tertium.render.envoy.layout import (
    ACTIVATOR_CLUSTER,
    LOOKUPS_HEADER,
    METADATA,
    MODEL_STATE,
    MOST_LOOKUPS,
    RELEASED,
    ROUTES,
    TYPES,
    Resource,
    message,
)


def build_routes(models: Mapping[str, Target]) -> RouteConfiguration:
    """Return the route configuration: a route for each name of a model, and what leads to none."""
    routes = RouteConfiguration()
    routes.CopyFrom(_FRAME)
    by_name = routes.virtual_hosts[0].matcher
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


_MODEL_ROUTE: Final = message(
    Route,
    {
        "match": {"prefix": "/"},
        "route": {"timeout": "0s"},
    },
)

_RETRY: Final[Resource] = {
    # `reset` is a replica that ended before the first byte of its answer; after that nothing is tried again.
    "retry_on": "connect-failure,refused-stream,reset,retriable-status-codes",
    "retriable_status_codes": [RELEASED],
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


_UNROUTED: Final[Resource] = {
    "name": "unrouted",
    "match": {"prefix": "/"},
    "route": {
        "cluster": ACTIVATOR_CLUSTER,
        "timeout": "30s",
        # A deployment may have appeared only just now: the activator has the request looked up again.
        "internal_redirect_policy": {
            "max_internal_redirects": MOST_LOOKUPS,
            "redirect_response_codes": [307],
            "response_headers_to_copy": [LOOKUPS_HEADER],
        },
    },
}


def _frame() -> Resource:
    """The configuration without a model."""
    unrouted = {"@type": f"{TYPES}.config.route.v3.Route", **_UNROUTED}
    return {
        "name": ROUTES,
        "virtual_hosts": [
            {
                "name": "all",
                "domains": ["*"],
                "include_request_attempt_count": True,
                "retry_policy": _RETRY,
                "matcher": {"on_no_match": {"action": {"name": "route", "typed_config": unrouted}}},
            }
        ],
    }


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

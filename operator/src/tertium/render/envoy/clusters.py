"""One cluster per deployment, and the activator's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from tertium.api.meta import ObjectKey
from tertium.render.envoy.endpoints import build_endpoints
from tertium.render.envoy.layout import (
    ACTIVATOR_CLUSTER,
    ACTIVATOR_HOST,
    TYPES,
    Layout,
    Resource,
    eds_file,
    endpoint,
)

_BALANCING: Final = f"{TYPES}.extensions.load_balancing_policies"
_MOST_REQUESTS: Final = 4096
"""Envoy's default of 3 concurrent retries would fail nearly all requests that are released together."""

_MOST_ANSWERS: Final = 512
"""Most error answers and model lists the activator is asked for at once; more are refused by Envoy."""


Assignments: TypeAlias = Mapping[ObjectKey, tuple[str, ...] | None]
"""Replica addresses by deployment; None: they are in an endpoints file of its own, which Envoy follows."""


def build_clusters(assignments: Assignments, layout: Layout) -> list[Resource]:
    """Return the cluster of each deployment, in order."""
    return [_model_cluster(key, assignments[key], layout) for key in sorted(assignments)]


def activator_cluster(layout: Layout) -> Resource:
    """The cluster for requests that lead to no deployment: error answers and the model list."""
    return {
        "name": ACTIVATOR_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "circuit_breakers": _limits(_MOST_ANSWERS),
        "typed_extension_protocol_options": _upstream_http("30s"),
        "load_assignment": {
            "cluster_name": ACTIVATOR_CLUSTER,
            "endpoints": [{"lb_endpoints": [endpoint(ACTIVATOR_HOST, layout.activator_port)]}],
        },
    }


def _model_cluster(key: ObjectKey, addresses: tuple[str, ...] | None, layout: Layout) -> Resource:
    return {
        "@type": f"{TYPES}.config.cluster.v3.Cluster",
        "name": str(key),
        **(_followed(key, layout) if addresses is None else _inline(key, addresses, layout)),
        "connect_timeout": "1s",
        "track_cluster_stats": {"per_endpoint_stats": True},  # which replica has the fewest streams to lose
        "ignore_health_on_host_removal": True,  # a removed replica leaves at once; its streams finish
        "close_connections_on_host_health_failure": False,
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "circuit_breakers": _limits(_MOST_REQUESTS),
        # Below the five seconds after which the engine's server closes idle connections: else a request
        # meets a connection that is just being closed.
        "typed_extension_protocol_options": _upstream_http("3s"),
        "load_balancing_policy": {
            "policies": [
                {
                    "typed_extension_config": {
                        "name": "least_request",
                        "typed_config": {"@type": f"{_BALANCING}.least_request.v3.LeastRequest"},
                    }
                }
            ]
        },
    }


def _followed(key: ObjectKey, layout: Layout) -> Resource:
    # Without `watched_directory` a rename wakes the one cluster whose file it was, not all of them.
    source = {"path_config_source": {"path": layout.path(eds_file(key))}}
    return {"type": "EDS", "eds_cluster_config": {"eds_config": source}}


def _inline(key: ObjectKey, addresses: tuple[str, ...], layout: Layout) -> Resource:
    assignment = build_endpoints(key, addresses, layout)
    del assignment["@type"]
    return {"type": "STATIC", "load_assignment": assignment}


def _limits(most: int) -> Resource:
    return {
        "thresholds": [
            {
                "max_connections": most,
                "max_pending_requests": most,
                "max_requests": most,
                "max_retries": most,
            }
        ]
    }


def _upstream_http(idle_timeout: str) -> Resource:
    return {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": f"{TYPES}.extensions.upstreams.http.v3.HttpProtocolOptions",
            "common_http_protocol_options": {"idle_timeout": idle_timeout},
            "explicit_http_config": {"http_protocol_options": {}},
        }
    }

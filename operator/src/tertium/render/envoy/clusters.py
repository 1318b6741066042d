"""One cluster per deployment, and the two that lead to the activator."""

from __future__ import annotations

from typing import Final

from envoy.config.cluster.v3.cluster_pb2 import Cluster

# Imported for their descriptors: the clusters below carry messages of these kinds.
from envoy.extensions.load_balancing_policies.least_request.v3 import least_request_pb2  # noqa: F401
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2  # noqa: F401

from tertium.api.meta import ObjectKey
from tertium.render.envoy.affinity import balance_by_prefix
from tertium.render.envoy.layout import (
    ACTIVATOR_CLUSTER,
    ACTIVATOR_HOST,
    DISCOVERY_CLUSTER,
    SOCKET_FILE,
    TYPES,
    Layout,
    Resource,
    endpoint,
    message,
)

_BALANCING: Final = f"{TYPES}.extensions.load_balancing_policies"
_MOST_REQUESTS: Final = 4096
"""Envoy's default of 3 concurrent retries would fail nearly all requests that are released together."""

_MOST_ANSWERS: Final = 512
"""Most error answers and model lists the activator is asked for at once; more are refused by Envoy."""

FROM_ACTIVATOR: Final[Resource] = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
"""Where Envoy gets what changes. It waits for the first of it however long, and listens then."""


def build_cluster(key: ObjectKey, *, by_prefix: bool) -> Cluster:
    """Return the cluster of a deployment; its endpoints are a resource of their own, of the same name.

    `by_prefix`: replicas are chosen by the hash of the prompt's beginning, else by their active requests.
    """
    cluster = Cluster()
    cluster.CopyFrom(_PREFIX_CLUSTER if by_prefix else _MODEL_CLUSTER)
    cluster.name = str(key)
    return cluster


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


def discovery_cluster(layout: Layout) -> Resource:
    """The cluster through which Envoy asks the activator for its configuration: a socket of this pod's."""
    pipe = {"endpoint": {"address": {"pipe": {"path": layout.path(SOCKET_FILE)}}}}
    return {
        "name": DISCOVERY_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{TYPES}.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": {"cluster_name": DISCOVERY_CLUSTER, "endpoints": [{"lb_endpoints": [pipe]}]},
    }


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


def _model_cluster(balancing: Resource) -> Cluster:
    resource = {
        "type": "EDS",
        "eds_cluster_config": {"eds_config": FROM_ACTIVATOR},
        "connect_timeout": "1s",
        "track_cluster_stats": {"per_endpoint_stats": True},  # which replica has the fewest streams to lose
        "ignore_health_on_host_removal": True,  # a removed replica leaves at once; its streams finish
        "close_connections_on_host_health_failure": False,
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "circuit_breakers": _limits(_MOST_REQUESTS),
        # Below the five seconds after which the engine's server closes idle connections: else a request
        # meets a connection that is just being closed.
        "typed_extension_protocol_options": _upstream_http("3s"),
        "load_balancing_policy": {"policies": [{"typed_extension_config": balancing}]},
    }
    return message(Cluster, resource)


_MODEL_CLUSTER: Final = _model_cluster(
    {
        "name": "least_request",
        # By default Envoy takes two replicas at random and of these the less busy one.
        "typed_config": {
            "@type": f"{_BALANCING}.least_request.v3.LeastRequest",
            "selection_method": "FULL_SCAN",
        },
    }
)
_PREFIX_CLUSTER: Final = _model_cluster(balance_by_prefix())

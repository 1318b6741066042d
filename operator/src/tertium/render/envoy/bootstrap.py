"""Envoy's bootstrap: what does not change while the pod lives."""

from __future__ import annotations

from typing import Final

from tertium.render.envoy.clusters import FROM_ACTIVATOR, activator_cluster, discovery_cluster
from tertium.render.envoy.layout import DISCOVERY_CLUSTER, TYPES, Layout, Resource, address
from tertium.render.envoy.listener import build_health_listener, build_listener, build_resume_listener

_MOST_CONNECTIONS: Final = 20_000
_STATS: Final = [
    *(
        {"prefix": prefix}
        for prefix in ("http.", "listener.", "listener_manager.", "cluster_manager.", "server.", "overload.")
    ),
    *(
        {"suffix": suffix}
        for suffix in (
            *(".upstream_rq_active", ".upstream_rq_total", ".upstream_rq_pending_overflow"),
            *(".upstream_rq_retry", ".upstream_rq_retry_overflow", ".upstream_cx_connect_fail"),
            *(".membership_total", ".update_rejected"),
        )
    ),
]

_DISCOVERY: Final[Resource] = {
    "api_type": "DELTA_GRPC",
    "transport_api_version": "V3",
    "grpc_services": [
        {
            "envoy_grpc": {
                "cluster_name": DISCOVERY_CLUSTER,
                # An activator that restarts is found again at once; by default that may take half a minute.
                "retry_policy": {"retry_back_off": {"base_interval": "0.05s", "max_interval": "0.5s"}},
            }
        }
    ],
}


def build_bootstrap(layout: Layout, *, node: str) -> Resource:
    """Return the bootstrap. The admin interface stays on loopback: it can stop the process."""
    return {
        "node": {"id": node, "cluster": "tertium-gateway"},
        "admin": {"address": address("127.0.0.1", layout.admin_port)},
        "dynamic_resources": {"ads_config": _DISCOVERY, "cds_config": FROM_ACTIVATOR},
        "static_resources": {
            "listeners": [
                build_listener(layout),
                build_resume_listener(layout),
                build_health_listener(layout),
            ],
            "clusters": [activator_cluster(layout), discovery_cluster(layout)],
        },
        # Searching all stats of a thousand clusters takes tens of milliseconds; a wake waits for that.
        # Where the activator notes which life of the counters this is: it ends with the process.
        "layered_runtime": {"layers": [{"name": "admin", "admin_layer": {}}]},
        "stats_config": {"stats_matcher": {"inclusion_list": {"patterns": _STATS}}},
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": f"{TYPES}.extensions.resource_monitors.downstream_connections.v3."
                        "DownstreamConnectionsConfig",
                        "max_active_downstream_connections": _MOST_CONNECTIONS,
                    },
                }
            ]
        },
    }

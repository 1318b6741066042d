"""The endpoints of one deployment: its replicas that answer, and behind them the activator."""

from __future__ import annotations

from collections.abc import Sequence

from tertium.api.meta import ObjectKey
from tertium.render.envoy.layout import ACTIVATOR_HOST, TYPES, Layout, Resource, endpoint


def build_endpoints(key: ObjectKey, addresses: Sequence[str], layout: Layout) -> Resource:
    """Return the load assignment. Without an address all traffic goes to the activator, which holds it."""
    return {
        "@type": f"{TYPES}.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": str(key),
        # By default a tier that is not quite whole leaks part of its traffic to the next one.
        "policy": {"overprovisioning_factor": 10000},
        "endpoints": [
            {
                "priority": 0,
                "lb_endpoints": [endpoint(address, layout.engine_port) for address in addresses],
            },
            {"priority": 1, "lb_endpoints": [endpoint(ACTIVATOR_HOST, layout.activator_port)]},
        ],
    }

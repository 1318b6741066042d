"""The endpoints of one deployment: its replicas that answer, and behind them the activator."""

from __future__ import annotations

from collections.abc import Sequence

from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

from tertium.api.meta import ObjectKey
from tertium.render.envoy.layout import ACTIVATOR_HOST, Layout


def build_endpoints(key: ObjectKey, addresses: Sequence[str], layout: Layout) -> ClusterLoadAssignment:
    """Return the load assignment. Without an address all traffic goes to the activator, which holds it."""
    assignment = ClusterLoadAssignment(cluster_name=str(key))
    # By default a tier that is not quite whole leaks part of its traffic to the next one.
    assignment.policy.overprovisioning_factor.value = 10000
    replicas = assignment.endpoints.add(priority=0)
    for address in addresses:
        place = replicas.lb_endpoints.add().endpoint.address.socket_address
        place.address, place.port_value = address, layout.engine_port
    place = assignment.endpoints.add(priority=1).lb_endpoints.add().endpoint.address.socket_address
    place.address, place.port_value = ACTIVATOR_HOST, layout.activator_port
    return assignment

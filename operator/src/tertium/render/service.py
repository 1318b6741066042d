"""The Service in front of one deployment's replicas, for people; the gateway goes to pods itself."""

from __future__ import annotations

from tertium.api.meta import Manifest
from tertium.core import names
from tertium.core.observed import Owner
from tertium.render.manifest import child


def build_service(owner: Owner) -> Manifest:
    """Return the Service of the engine's replicas."""
    return child(
        owner.identity,
        api_version="v1",
        kind="Service",
        name=names.engine(owner.key),
        component="engine",
        spec={
            "type": "ClusterIP",
            "selector": dict(names.selector(owner.key, "engine")),
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": names.ENGINE_PORT}],
        },
    )

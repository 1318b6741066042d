"""The demand Lease: the operator makes it, gateway pods write on it while requests wait."""

from __future__ import annotations

from tertium.api.meta import Manifest
from tertium.core import names
from tertium.core.observed import Owner
from tertium.render.manifest import child


def build_lease(owner: Owner) -> Manifest:
    """Return the Lease without a claim: those annotations belong to the gateway pods, one each."""
    return child(
        owner.identity,
        api_version="coordination.k8s.io/v1",
        kind="Lease",
        name=names.demand_lease(owner.key),
        component="demand",
    )

"""The demand Lease: the operator makes it, the gateway renews it while a request waits."""

from __future__ import annotations

from tertium.api.meta import Manifest
from tertium.core import names
from tertium.core.observed import Owner
from tertium.core.policy import Policy
from tertium.render.manifest import child


def build_lease(owner: Owner, policy: Policy) -> Manifest:
    """Return the Lease without holder and renew time: those fields belong to the gateway alone."""
    return child(
        owner.identity,
        api_version="coordination.k8s.io/v1",
        kind="Lease",
        name=names.demand_lease(owner.key),
        component="demand",
        spec={"leaseDurationSeconds": policy.demand_seconds},
    )

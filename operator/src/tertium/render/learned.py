"""The ConfigMap that keeps what a deployment's starts have taught."""

from __future__ import annotations

from tertium.api.meta import Manifest
from tertium.core import names
from tertium.core.learned import Learned
from tertium.core.observed import Owner
from tertium.render.manifest import child


def build_learned(owner: Owner, learned: Learned) -> Manifest | None:
    """Return the ConfigMap, or None while nothing was learned."""
    text = learned.dump()
    if not text:
        return None
    return child(
        owner.identity,
        api_version="v1",
        kind="ConfigMap",
        name=names.learned(owner.key),
        component="learned",
        data={names.LEARNED_KEY: text},
    )

"""Complete lists of everything that is watched: before a leader's first reconcile, and from time to time.

A reconcile that met a half-filled store would take "not seen yet" for "not there". So the store is filled
by lists before any worker starts, and watch events only bring it forward. Events can be lost between such a
list and the start of a watch, or by a fault: the next list finds what is gone and what was missed. Between
lists the executor still asks for an object it has never seen before it makes one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tertium.api.meta import ObjectKey
from tertium.core import names
from tertium.kube.cluster import (
    CONFIG_MAP,
    DEPLOYMENT,
    JOB,
    LEASE,
    LLM_DEPLOYMENT,
    NODE,
    POD,
    SERVICE,
    Cluster,
    Kind,
)
from tertium.runtime.store import Store

CHILD_KINDS: Final = (DEPLOYMENT, SERVICE, LEASE, CONFIG_MAP, JOB, POD)
WATCHED_KINDS: Final = (LLM_DEPLOYMENT, *CHILD_KINDS, NODE)


async def relist(cluster: Cluster, store: Store) -> Sequence[ObjectKey]:
    """Bring the store in line with the cluster; return the deployments whose watches had missed something.

    Raises `Retryable` or `Terminal` as `Cluster.pages` does.
    """
    missed: dict[ObjectKey, None] = {}
    for kind in WATCHED_KINDS:
        missed.update(dict.fromkeys(await _relist_kind(cluster, store, kind)))
    return tuple(missed)


async def _relist_kind(cluster: Cluster, store: Store, kind: Kind) -> Sequence[ObjectKey]:
    # Only what was known before the list can be missing from it: a newer object is not gone, but young.
    gone = dict(store.known(kind.kind))
    labels = names.MANAGED_SELECTOR if kind in CHILD_KINDS else ""
    missed: list[ObjectKey] = []
    # Page by page: the store keeps little of an object, and a list of thousands is large.
    async for page in cluster.pages(kind, labels=labels):
        for manifest in page:
            gone.pop(manifest["metadata"]["uid"], None)
            missed += store.put(manifest)
    for manifest in gone.values():
        missed += store.drop(manifest)
    return missed

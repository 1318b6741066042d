"""Complete lists of everything that is watched: before a leader's first reconcile, and from time to time.

A reconcile that met a half-filled store would take "not seen yet" for "not there". So the store is filled
by lists before any worker starts, and watch events only bring it forward. Events can be lost between such a
list and the start of a watch, or by a fault: the next list finds what is gone and what was missed. Between
lists the executor still asks for an object it has never seen before it makes one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from tertium.api.meta import ObjectKey
from tertium.core import names
from tertium.core.errors import TertiumError
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
FIRST_RETRY_SECONDS: Final = 1.0
LONGEST_RETRY_SECONDS: Final = 60.0

_log = logging.getLogger(__name__)


async def relist(
    cluster: Cluster, store: Store, missed: Callable[[ObjectKey], None] = lambda _: None
) -> None:
    """Bring the store in line with the cluster, however often a list must be tried.

    Calls `missed` with deployments of which the watches had not told all, and that at once: what is in the
    store before a list fails is news to no later one.
    """
    for kind in WATCHED_KINDS:
        wait = FIRST_RETRY_SECONDS
        while True:
            try:
                await _relist_kind(cluster, store, kind, missed)
            except TertiumError as fault:
                _log.warning("a list could not be read", extra={"why": str(fault), "requeue": wait})
            else:
                break
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_RETRY_SECONDS)


async def _relist_kind(
    cluster: Cluster, store: Store, kind: Kind, missed: Callable[[ObjectKey], None]
) -> None:
    # Only what was known before the list can be missing from it: a newer object is not gone, but young.
    gone = dict(store.known(kind.kind))
    labels = names.MANAGED_SELECTOR if kind in CHILD_KINDS else ""
    # Page by page: the store keeps little of an object, and a list of thousands is large.
    async for page in cluster.pages(kind, labels=labels):
        for manifest in page:
            gone.pop(manifest["metadata"]["uid"], None)
            for key in store.put(manifest):
                missed(key)
    for manifest in gone.values():
        for key in store.drop(manifest):
            missed(key)

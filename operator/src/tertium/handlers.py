"""kopf as a watcher, and nothing else of it: every event goes into the store, its deployment into the queue.

The only file that imports kopf. It keeps the watches alive; finalizers, annotations, progress in the status,
timers, retries and peering of kopf stay unused: all of that is our own queue's and our own Lease's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, repeat
from typing import Any, Final

import aiohttp
import kopf

from tertium.api.meta import ObjectKey
from tertium.api.v1alpha1 import GROUP, PLURAL, VERSION
from tertium.core import names
from tertium.kube.cluster import NODE, Kind
from tertium.kube.watch import PAGE_LIMIT
from tertium.runtime.queue import WorkQueue
from tertium.runtime.relist import CHILD_KINDS
from tertium.runtime.store import Store

SERVER_TIMEOUT_SECONDS: Final = 290
CLIENT_TIMEOUT_SECONDS: Final = 310
WORKER_IDLE_SECONDS: Final = 0.2
UNUSED_FINALIZER: Final = f"{GROUP}/unused-by-anyone"
"""kopf takes its finalizer off objects that carry it; so it must be one that nobody ever sets."""


async def watch(
    store: Store,
    queue: WorkQueue[ObjectKey],
    *,
    server: str,
    open_session: Callable[[], aiohttp.ClientSession],
    ready: asyncio.Event,
) -> None:
    """Run the watches until a signal ends them; `ready` is set once they are being started.

    kopf asks for another session whenever the API server has refused the last one, and closes each.
    """
    # kopf logs every handled event, each line with all of its settings: more work than the event itself.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    registry = build_registry(store, queue)

    async def login(**_: Any) -> kopf.AiohttpSession:
        return kopf.AiohttpSession(server=server, aiohttp_session=open_session())

    kopf.on.login(registry=registry)(login)
    await kopf.operator(
        registry=registry,
        settings=build_settings(),
        clusterwide=True,
        ready_flag=ready,
    )


def build_registry(store: Store, queue: WorkQueue[ObjectKey]) -> kopf.OperatorRegistry:
    """Return the handlers: one event handler for all kinds."""
    registry = kopf.OperatorRegistry()

    async def on_event(event: kopf.RawEvent, **_: Any) -> None:
        manifest = event["object"]
        keys = store.drop(manifest) if event["type"] == "DELETED" else store.put(manifest)
        for key in keys:
            queue.add(key)

    kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)(on_event)
    for kind in (*CHILD_KINDS, NODE):
        group, _, version = kind.api_version.rpartition("/")
        kopf.on.event(group, version, kind.plural, registry=registry)(on_event)
    return registry


def build_settings() -> kopf.OperatorSettings:
    """Return kopf's settings: all that writes is off, all that keeps a watch alive is on."""
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.persistence.finalizer = UNUSED_FINALIZER
    settings.persistence.diffbase_storage = _NoDiffs()
    settings.process.ultimate_exiting_timeout = None
    settings.watching.server_timeout = SERVER_TIMEOUT_SECONDS
    settings.watching.client_timeout = CLIENT_TIMEOUT_SECONDS
    settings.watching.connect_timeout = 5
    settings.watching.chunk_size = PAGE_LIMIT
    # As long as a worker idles it keeps the object it saw last, whole: at a start that is all of them.
    settings.queueing.idle_timeout = WORKER_IDLE_SECONDS
    settings.networking.request_timeout = 60
    settings.networking.error_backoffs = _Backoffs()
    settings.networking.enforce_retry_after = True
    for kind in CHILD_KINDS:
        settings.watching.label_selectors[_selector(kind)] = names.MANAGED_SELECTOR
    return settings


class _NoDiffs(kopf.DiffBaseStorage):
    """Spares kopf a deep copy of every object of every event, for diffs that no event handler gets."""

    def build(
        self, *, body: kopf.Body, extra_fields: Iterable[kopf.FieldSpec] | None = None
    ) -> kopf.BodyEssence:
        """Return that nothing matters."""
        return kopf.BodyEssence({})

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        """Return that nothing was stored."""
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Store nothing."""


class _Backoffs:
    """Waits between tries, without end: an API server may be down for long, and the watches wait for it."""

    def __iter__(self) -> Iterator[float]:
        return chain((0.2, 0.5, 1.0, 2.0, 5.0), repeat(10.0))


def _selector(kind: Kind) -> tuple[str, str, str]:
    group, _, version = kind.api_version.rpartition("/")
    return (group, version, kind.plural)

"""kopf as a watcher, and nothing else of it: every event goes into the store, its deployment into the queue.

The only file that imports kopf. It keeps the watches alive; finalizers, annotations, progress in the status,
timers and retries of kopf stay unused, and all of that is our own queue's.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import kopf

from tertium.api.meta import ObjectKey
from tertium.api.v1alpha1 import GROUP, PLURAL, VERSION
from tertium.core import names
from tertium.kube.cluster import NODE, Kind
from tertium.runtime.queue import WorkQueue
from tertium.runtime.relist import CHILD_KINDS
from tertium.runtime.store import Store

SERVER_TIMEOUT_SECONDS: Final = 290
CLIENT_TIMEOUT_SECONDS: Final = 310
UNUSED_FINALIZER: Final = f"{GROUP}/unused-by-anyone"
"""kopf takes its finalizer off objects that carry it; so it must be one that nobody ever sets."""


async def watch(store: Store, queue: WorkQueue[ObjectKey], *, ready: asyncio.Event) -> None:
    """Run the watches until a signal ends them; `ready` is set once they are being started."""
    # kopf logs every handled event, each line with all of its settings: more work than the event itself.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    await kopf.operator(
        registry=build_registry(store, queue),
        settings=build_settings(),
        clusterwide=True,
        ready_flag=ready,
    )


def build_registry(store: Store, queue: WorkQueue[ObjectKey]) -> kopf.OperatorRegistry:
    """Return the handlers: one event handler for all kinds, and the login."""
    registry = kopf.OperatorRegistry()

    async def on_event(event: kopf.RawEvent, **_: Any) -> None:
        manifest: dict[str, Any] = dict(event["object"])
        manifest["metadata"] = {
            name: value for name, value in manifest["metadata"].items() if name != "managedFields"
        }
        keys = store.drop(manifest) if event["type"] == "DELETED" else store.put(manifest)
        for key in keys:
            queue.add(key)

    kopf.on.login(registry=registry)(kopf.login_via_client)
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
    settings.process.ultimate_exiting_timeout = None
    settings.watching.server_timeout = SERVER_TIMEOUT_SECONDS
    settings.watching.client_timeout = CLIENT_TIMEOUT_SECONDS
    settings.watching.connect_timeout = 5
    settings.watching.chunk_size = 500
    settings.networking.request_timeout = 60
    settings.networking.enforce_retry_after = True
    for kind in CHILD_KINDS:
        settings.watching.label_selectors[_selector(kind)] = names.MANAGED_SELECTOR
    return settings


def _selector(kind: Kind) -> tuple[str, str, str]:
    group, _, version = kind.api_version.rpartition("/")
    return (group, version, kind.plural)

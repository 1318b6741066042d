"""kopf is a watcher and nothing else: which handlers there are, what they do, what they leave alone."""

from __future__ import annotations

from itertools import islice
from typing import Any

import kopf
import pytest

from tertium.api.meta import ObjectKey
from tertium.handlers import UNUSED_FINALIZER, build_registry, build_settings
from tertium.runtime.queue import WorkQueue
from tertium.runtime.relist import WATCHED_KINDS
from tertium.runtime.store import Store
from tests.factories import KEY, a_manifest, a_node, a_pod_manifest


@pytest.fixture
def wired() -> tuple[Store, WorkQueue[ObjectKey], Any]:
    store, queue = Store(), WorkQueue[ObjectKey]()
    registry = build_registry(store, queue)
    handlers = list(registry._watching.get_all_handlers())
    return store, queue, handlers[0].fn


def handlers_of(registry: kopf.OperatorRegistry) -> dict[str, int]:
    return {
        name: len(getattr(registry, name).get_all_handlers())
        for name in ("_watching", "_changing", "_spawning", "_indexing", "_webhooks")
    }


def test_only_event_handlers_are_registered() -> None:
    registry = build_registry(Store(), WorkQueue())
    assert handlers_of(registry) == {
        "_watching": len(WATCHED_KINDS),
        "_changing": 0,
        "_spawning": 0,
        "_indexing": 0,
        "_webhooks": 0,
    }


def test_every_watched_kind_has_its_handler() -> None:
    handlers = build_registry(Store(), WorkQueue())._watching.get_all_handlers()
    selectors = [handler.selector for handler in handlers if handler.selector is not None]
    assert {(selector.group, selector.any_name) for selector in selectors} == {
        (kind.api_version.rpartition("/")[0], kind.plural) for kind in WATCHED_KINDS
    }


def test_kopf_writes_nothing() -> None:
    settings = build_settings()
    assert settings.posting.enabled is False
    assert settings.peering.standalone is True
    assert settings.scanning.disabled is True
    assert settings.persistence.finalizer == UNUSED_FINALIZER == "tertium.dev/unused-by-anyone"
    body, patch = kopf.Body(kopf.BodyEssence({})), kopf.Patch()
    storage = settings.persistence.diffbase_storage
    storage.store(body=body, patch=patch, essence=storage.build(body=body))
    assert (patch, storage.fetch(body=body)) == ({}, None)


def test_an_api_server_that_is_down_is_waited_for_without_end() -> None:
    backoffs = build_settings().networking.error_backoffs
    assert not isinstance(backoffs, float)
    waits = list(islice(backoffs, 100))
    assert (waits[0], waits[-1]) == (0.2, 10.0)
    assert waits == sorted(waits)


async def test_an_event_queues_the_owner_and_returns_nothing(
    wired: tuple[Store, WorkQueue[ObjectKey], Any],
) -> None:
    store, queue, on_event = wired
    assert await on_event(event={"type": None, "object": a_manifest()}) is None
    assert await queue.get() == KEY
    assert store.owners[KEY]["spec"] == a_manifest()["spec"]


async def test_a_childs_event_queues_its_owner_and_its_echo_nobody(
    wired: tuple[Store, WorkQueue[ObjectKey], Any],
) -> None:
    store, queue, on_event = wired
    store.put(a_manifest())
    pod = a_pod_manifest()
    await on_event(event={"type": "ADDED", "object": pod})
    assert await queue.get() == KEY
    queue.done(KEY)
    await on_event(event={"type": "MODIFIED", "object": pod})
    assert len(queue) == 0
    await on_event(event={"type": "DELETED", "object": pod})
    assert (await queue.get(), dict(store.children(KEY))) == (KEY, {})


async def test_a_childs_event_before_its_owners_is_kept_and_queues_nothing(
    wired: tuple[Store, WorkQueue[ObjectKey], Any],
) -> None:
    store, queue, on_event = wired
    await on_event(event={"type": "ADDED", "object": a_pod_manifest()})
    assert (len(queue), len(store.children(KEY))) == (0, 1)


async def test_a_node_queues_everybody_when_the_gpus_change_and_nobody_otherwise(
    wired: tuple[Store, WorkQueue[ObjectKey], Any],
) -> None:
    store, queue, on_event = wired
    store.put(a_manifest())
    await on_event(event={"type": "ADDED", "object": a_node()})
    assert await queue.get() == KEY
    queue.done(KEY)
    await on_event(event={"type": "MODIFIED", "object": a_node()})
    assert len(queue) == 0
    await on_event(event={"type": "DELETED", "object": a_node()})
    assert (await queue.get(), store.pools) == (KEY, ())


def test_what_kopf_has_seen_is_not_kept_beside_the_store() -> None:
    settings = build_settings()
    assert settings.watching.chunk_size == 100
    assert settings.queueing.idle_timeout == 0.2

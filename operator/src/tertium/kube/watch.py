"""Lists, and watches that go on for ever: paged, resumed where they were cut, begun anew when too old."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Sequence
from typing import Final

import aiohttp

from tertium.api.meta import Manifest
from tertium.core.errors import Retryable, TertiumError
from tertium.kube.cluster import Kind, WatchEvent
from tertium.kube.connection import Connection, words
from tertium.kube.errors import message_of
from tertium.kube.objects import parse_object, path_of, trimmed

PAGE_LIMIT: Final = 100
"""Objects of one answer: as text and as objects they are in memory at once, for each kind that is listed."""

_LIST_LIMIT: Final = aiohttp.ClientTimeout(total=60, connect=5)
_WATCH_SECONDS: Final = 290
# Bookmarks come about once a minute on a quiet watch: silence for longer is a dead connection.
_WATCH_LIMIT: Final = aiohttp.ClientTimeout(total=_WATCH_SECONDS + 20, connect=5, sock_read=100)
_PAUSES: Final = (0.05, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

_log = logging.getLogger(__name__)


async def list_objects(
    connection: Connection, kind: Kind, *, namespace: str = "", labels: str = "", fields: str = ""
) -> tuple[Sequence[Manifest], str]:
    """Return all pages of a list and the version to watch from. Raises as `list_pages` does."""
    found: list[Manifest] = []
    version = ""
    async for page, latest in list_pages(connection, kind, namespace=namespace, labels=labels, fields=fields):
        found += page
        version = latest
    return found, version


async def list_pages(
    connection: Connection, kind: Kind, *, namespace: str = "", labels: str = "", fields: str = ""
) -> AsyncIterator[tuple[Sequence[Manifest], str]]:
    """Yield the pages of a list, each with the version to watch from.

    Raises `Retryable` or `Terminal` as the API server answers; an expired continuation is `Retryable`.
    """
    what = f"list {kind.plural}"
    query = {"limit": str(PAGE_LIMIT)}
    if labels:
        query["labelSelector"] = labels
    if fields:
        query["fieldSelector"] = fields
    while True:
        answer = await connection.call("GET", path_of(kind, namespace), query=query, limit=_LIST_LIMIT)
        if answer.status == 410:
            raise _Expired(f"{what}: its continuation has expired")
        page = parse_object(answer, what)
        items = [
            trimmed({**item, "apiVersion": kind.api_version, "kind": kind.kind})
            for item in page.get("items") or ()
        ]
        metadata = page["metadata"]
        del answer, page
        yield items, metadata["resourceVersion"]
        if not metadata.get("continue"):
            return
        query["continue"] = metadata["continue"]


async def watch_objects(connection: Connection, kind: Kind, *, labels: str = "") -> AsyncIterator[WatchEvent]:
    """List, then follow the kind in all namespaces, for ever; reconnects and lists anew by itself."""
    version = ""
    failures = 0
    while True:
        asked_for = 0.0
        try:
            if not version:
                items, version = await list_objects(connection, kind, labels=labels)
                for item in items:
                    yield WatchEvent("LISTED", item)
                yield WatchEvent("SYNCED", None)
            async for event, resume_at in _follow(connection, kind, labels, version):
                version = resume_at
                failures = 0
                if event is not None:
                    yield event
        except _Expired:
            version = ""
        except TertiumError as fault:
            asked_for = getattr(fault, "after", None) or 0.0
            _log.warning("watch interrupted", extra={"kind": kind.kind, "why": str(fault)})
        # An answer's end is normal, but a server that ends them at once must not be hammered.
        pause = _PAUSES[min(failures, len(_PAUSES) - 1)] * (0.5 + random.random())
        failures += 1
        await asyncio.sleep(max(pause, asked_for))


async def _follow(
    connection: Connection, kind: Kind, labels: str, version: str
) -> AsyncIterator[tuple[WatchEvent | None, str]]:
    """Yield the changes after `version`, each with the version to go on from, until the answer ends."""
    query = {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": version,
        "timeoutSeconds": str(_WATCH_SECONDS),
    }
    if labels:
        query["labelSelector"] = labels
    what = f"watch {kind.plural}"
    try:
        response = await connection.send("GET", path_of(kind), query=query, limit=_WATCH_LIMIT)
        async with response:
            if response.status >= 400:
                raise _watch_error(response.status, what, await response.text())
            async for line in response.content:
                change = json.loads(line)
                manifest = change["object"]
                if change["type"] == "ERROR":
                    raise _watch_error(manifest.get("code", 500), what, json.dumps(manifest))
                resume_at = manifest["metadata"]["resourceVersion"]
                if change["type"] == "BOOKMARK":
                    yield None, resume_at
                else:
                    yield WatchEvent(change["type"], trimmed(manifest)), resume_at
    except aiohttp.ServerTimeoutError:
        return
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise Retryable(f"{what}: the connection broke: {words(error)}") from error


class _Expired(Retryable):
    """The server's history no longer holds the version asked for: list anew."""


def _watch_error(status: int, what: str, body: str) -> Retryable:
    """Return the error of a refused or broken watch; a watch is tried for ever, whatever was said."""
    said = f"{what}: the API server answered {status}: {message_of(body)}"
    return _Expired(said) if status == 410 else Retryable(said)

"""A session to the API server for a library that watches by itself, and how long each watch has been silent.

An API server sends a bookmark on a quiet watch about once a minute, so silence means a dead connection. The
library tells nobody of bookmarks; the bytes of its open answers do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import aiohttp

from tertium.kube.connection import Connection


@dataclass(slots=True)
class _Stream:
    content: aiohttp.StreamReader | None
    read_bytes: int
    moved: float


class WatchAges:
    """For every plural that is watched: seconds without a byte. Counts from its making."""

    def __init__(self, plurals: Iterable[str], seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._streams = {plural: _Stream(None, 0, seconds()) for plural in plurals}

    def session(self, connection: Connection) -> aiohttp.ClientSession:
        """Return a session that says who we are with every request, and whose watches are noted here."""

        async def authorize_and_note(
            request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            request.headers.update(await connection.authorization())
            response = await send(request)
            if "watch" in request.url.query and response.ok:
                self.note(request.url.name, response.content)
            return response

        connector = aiohttp.TCPConnector(limit=0, ssl=connection.tls)
        return aiohttp.ClientSession(connector=connector, middlewares=(authorize_and_note,))

    def note(self, plural: str, content: aiohttp.StreamReader) -> None:
        """Follow another answer to the watch of `plural` from now on."""
        self._streams[plural] = _Stream(content, content.total_bytes, self._seconds())

    def ages(self) -> Mapping[str, float]:
        """Return the seconds since each watch was last seen to have brought anything.

        Exact to the time between two such questions: what came between them counts as just now.
        """
        now = self._seconds()
        for stream in self._streams.values():
            read_bytes = stream.content.total_bytes if stream.content is not None else 0
            if read_bytes != stream.read_bytes:
                stream.read_bytes, stream.moved = read_bytes, now
        return {plural: now - stream.moved for plural, stream in self._streams.items()}

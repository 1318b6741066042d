"""Bodies are kept whole or not at all, and what is kept is counted to the byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import cast

from aiohttp import StreamReader
from hypothesis import given, settings
from hypothesis import strategies as st

from tertium.gateway.bodies import Body, Room


class Content:
    """Chunks as they come."""

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self._chunks = chunks

    async def iter_any(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk


@settings(deadline=None)
@given(st.lists(st.lists(st.binary(max_size=9), max_size=5), max_size=5), st.integers(0, 60))
def test_a_body_is_kept_byte_by_byte_or_not_at_all(bodies: list[list[bytes]], most: int) -> None:
    async def read_all() -> None:
        room, kept = Room(most), list[Body]()
        for chunks in bodies:
            body = Body(cast(StreamReader, Content(chunks)), room)
            await body.read()
            assert body.size == sum(map(len, chunks))
            assert body.kept in (None, b"".join(chunks))
            kept.append(body)
            assert room.left == most - sum(len(body.kept or b"") for body in kept) >= 0
            if body.kept is None:
                assert body.size > room.left
        for body in kept:
            body.drop()
            body.drop()
        assert room.left == most

    asyncio.run(read_all())


async def test_a_body_that_need_not_be_kept_is_only_counted() -> None:
    body = Body(cast(StreamReader, Content([b"abc", b"d"])), None)
    await body.read()
    assert (body.size, body.kept) == (4, None)

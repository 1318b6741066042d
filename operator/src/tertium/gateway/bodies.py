"""Bodies of held requests: read through, counted, and kept where the activator may have to send them on."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import StreamReader


@dataclass(slots=True)
class Room:
    """Bytes that may still be kept, of all bodies together."""

    left: int

    def take(self, size: int) -> bool:
        """Take so many, or none and return False."""
        if size > self.left:
            return False
        self.left -= size
        return True

    def give_back(self, size: int) -> None:
        """Give back what was taken."""
        self.left += size


class Body:
    """One body. With a `room` it is kept, as long as there is room for all of it."""

    def __init__(self, content: StreamReader, room: Room | None) -> None:
        self._content = content
        self._room = room
        self._chunks: list[bytes] | None = None if room is None else []
        self.size = 0

    @property
    def kept(self) -> bytes | None:
        """The body as it came, or None where it is not kept."""
        return None if self._chunks is None else b"".join(self._chunks)

    async def read(self) -> None:
        """Read it all; let go of what was kept of it as soon as there is no room for the rest."""
        async for chunk in self._content.iter_any():
            self.size += len(chunk)
            if self._chunks is not None and self._room is not None:
                if self._room.take(len(chunk)):
                    self._chunks.append(chunk)
                else:
                    self.drop()
        if self._chunks:
            self._chunks = [b"".join(self._chunks)]

    def drop(self) -> None:
        """Keep it no longer."""
        if self._chunks is not None and self._room is not None:
            self._room.give_back(sum(map(len, self._chunks)))
        self._chunks = None

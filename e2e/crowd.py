"""Many callers at once, and what became of each request: answered, told why not, or cut off."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from e2e.caller import QUESTION, chat_body

ANSWERED: Final = "200"
PATIENCE: Final = aiohttp.ClientTimeout(total=300)


@dataclass(kw_only=True)
class Tally:
    """Outcomes by name: `200`, another status with its code, or the error that cut the request off."""

    outcomes: Counter[str] = field(default_factory=Counter)
    latest: str = ""
    """The newest outcome that was no answer, in full."""

    def add(self, outcome: str, said: str) -> None:
        """Count one request."""
        self.outcomes[outcome] += 1
        if outcome != ANSWERED:
            self.latest = said

    @property
    def total(self) -> int:
        """How many requests have ended."""
        return sum(self.outcomes.values())

    def all_answered(self, *, least: int = 1) -> None:
        """Assert that every request was answered, and that there were enough of them to mean something."""
        assert set(self.outcomes) <= {ANSWERED}, f"{dict(self.outcomes)}; the latest: {self.latest}"
        assert self.outcomes[ANSWERED] >= least, dict(self.outcomes)


class Crowd:
    """Callers in a loop of their own, for the length of a `with`. Each keeps its connection, as SDKs do.

    `rounds`: how often each asks; None: until the context ends.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        count: int,
        rounds: int | None = None,
        stream: bool = False,
        **body: Any,
    ) -> None:
        self.tally = Tally()
        self._url, self._count, self._rounds, self._stream = url, count, rounds, stream
        self._body = chat_body(model, QUESTION, stream=stream, **body)
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Crowd:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def wait(self) -> Tally:
        """Wait until every caller has asked as often as it was to."""
        self._thread.join()
        return self.tally

    async def _run(self) -> None:
        connector = aiohttp.TCPConnector(limit=0)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=PATIENCE) as session,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(self._count):
                group.create_task(self._caller(session))

    async def _caller(self, session: aiohttp.ClientSession) -> None:
        asked = 0
        while not self._over.is_set() if self._rounds is None else asked < self._rounds:
            self.tally.add(*await self._ask(session))
            asked += 1

    async def _ask(self, session: aiohttp.ClientSession) -> tuple[str, str]:
        try:
            async with session.post(f"{self._url}/v1/chat/completions", json=self._body) as answer:
                text = await answer.text()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return type(error).__name__, repr(error)
        if answer.status != 200:
            return f"{answer.status}", text
        if self._stream and not text.rstrip().endswith("data: [DONE]"):
            return "a stream without an end", text[-500:]
        return ANSWERED, text

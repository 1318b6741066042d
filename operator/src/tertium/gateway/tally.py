"""The tokens of answers, as Tertium's filter in Envoy has counted them since the process began."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import aiohttp

from tertium.core.errors import Retryable
from tertium.gateway.counters import Meter, Tokens
from tertium.render.envoy.filter import TALLY_PATH

_LIMIT: Final = aiohttp.ClientTimeout(total=2.0)
_LINE: Final = re.compile(r"(?P<numbers>\d+ \d+ \d+ \d+) (?P<deployment>[^|]*)\|(?P<uid>[^|]*)\|(?P<key>.*)")


class Tally:
    """Asks Envoy for the sums, at the port that is for the activator alone."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self._session = session
        self._url = f"http://127.0.0.1:{port}{TALLY_PATH}"

    async def read(self) -> Mapping[Meter, Tokens]:
        """Return the sums. Raises Retryable when Envoy does not tell them, as when it does not listen yet."""
        try:
            async with self._session.get(self._url, timeout=_LIMIT) as answer:
                if answer.status != 200:
                    raise Retryable(f"Envoy answered {answer.status} when asked for its sums of tokens")
                return read_tally(await answer.text())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Retryable(f"Envoy did not tell its sums of tokens: {error!r}") from error


def read_tally(text: str) -> Mapping[Meter, Tokens]:
    """Return the sums that stand in the filter's lines; anything else in there is left out."""
    found = filter(None, map(_LINE.fullmatch, text.splitlines()))
    return {
        Meter(line["deployment"], line["uid"], line["key"]): Tokens(*map(int, line["numbers"].split()))
        for line in found
    }

"""Sending a stream on that was held and is open already: through this pod's own Envoy, on loopback.

Envoy chooses the replica, retries and counts, as for every other request; here bytes are only passed on.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Final

import aiohttp
from yarl import URL

from tertium.gateway.bodies import Body
from tertium.gateway.in_band import BROKE_OFF, error_event, error_of
from tertium.render.envoy.layout import ACTIVATOR_HOST, ASKED_HOLD_HEADER, RESUMED_HEADER

_LIMITS: Final = aiohttp.ClientTimeout(total=None, sock_connect=5.0)
_MOST_ERROR_BYTES: Final = 65_536
_NOT_PASSED_ON: Final = frozenset(
    {
        *("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "expect"),
        # The stream is open and not compressed.
        *("content-length", "accept-encoding", "x-scale-up-timeout"),
    }
)


class Resume:
    """Asks again, with the body that was kept."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self._session = session
        self._root = f"http://{ACTIVATOR_HOST}:{port}"

    async def events(
        self, raw_path: str, headers: Mapping[str, str], body: Body, *, hold_seconds: int
    ) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of the model's stream as they come, or one error event in the API's own format.

        `raw_path`: as it was received, with its query. `body` is let go when it was sent. `hold_seconds`: for
        how long the request may be held once more, should the replica be gone again.
        """
        path = raw_path.partition("?")[0]
        sent = {name: value for name, value in headers.items() if _passed_on(name)}
        sent |= {RESUMED_HEADER: "true", ASKED_HOLD_HEADER: str(hold_seconds)}
        try:
            async with self._session.post(
                URL(self._root + raw_path, encoded=True),
                data=body.kept,
                headers=sent,
                timeout=_LIMITS,
                allow_redirects=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            ) as answer:
                body.drop()  # it has arrived, and the stream may last for an hour
                if answer.status != 200 or answer.content_type != "text/event-stream":
                    found = await answer.content.read(_MOST_ERROR_BYTES)
                    yield error_event(path, answer.status, error_of(answer.status, found))
                    return
                async for chunk in answer.content.iter_any():
                    yield chunk
        except (aiohttp.ClientError, TimeoutError, OSError):
            yield error_event(path, 502, BROKE_OFF)


def _passed_on(name: str) -> bool:
    lower = name.lower()
    return lower not in _NOT_PASSED_ON and not lower.startswith(("x-envoy-", "x-tertium-"))

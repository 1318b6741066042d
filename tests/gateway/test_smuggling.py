"""Requests whose end two parsers might see in two places: Envoy refuses them, and the engine sees none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.gateway.parts import Engine
from tests.gateway.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUIET_SECONDS = 0.3
HIDDEN = (
    "POST /v1/hidden HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
)


@dataclass
class Target:
    """A model that serves, and its only engine."""

    stack: Stack
    engine: Engine
    model: str

    async def exchange(self, text: str, *, seconds: float = QUIET_SECONDS) -> bytes:
        """Send raw text and return all that comes until Envoy closes the connection, or waits for more."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.stack.layout.listen_port)
        writer.write(text.replace("MODEL", self.model).encode("latin-1"))
        received = b""
        try:
            async with asyncio.timeout(seconds):
                while piece := await reader.read(65536):
                    received += piece
        except TimeoutError:
            pass  # Envoy waits for the rest of a request: it has taken nothing for another one
        finally:
            writer.close()
        return received


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target(stack: Stack) -> AsyncIterator[Target]:
    key = await stack.deploy()
    engine = await stack.start_engine()
    await stack.add_replica(key, engine)
    yield Target(stack, engine, str(key))


def request(*headers: str, body: str = '{"model": "MODEL"}', version: str = "1.1") -> str:
    """A request for the model with these headers about its length."""
    lines = [f"POST /v1/completions HTTP/{version}", "Host: x", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, "", ""]) + body


BODY = '{"model": "MODEL"}'
CHUNKED = f"14\r\n{BODY}\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(
            request("Content-Length: 6", "Transfer-Encoding: chunked", body=f"0\r\n\r\n{HIDDEN}"),
            id="a length and chunks, the chunks shorter",
        ),
        pytest.param(
            request("Transfer-Encoding: chunked", "Content-Length: 4", body=f"{CHUNKED}{HIDDEN}"),
            id="chunks and a length, the length shorter",
        ),
        pytest.param(
            request("Content-Length: 20", "Content-Length: 2", body=f"{BODY}{HIDDEN}"), id="two lengths"
        ),
        pytest.param(
            request("Content-Length: 20, 2", body=f"{BODY}{HIDDEN}"), id="two lengths in one header"
        ),
        pytest.param(request("Content-Length: +20", body=BODY), id="a length with a sign"),
        pytest.param(request("Content-Length: -1", body=BODY), id="a negative length"),
        pytest.param(request("Content-Length: 0x14", body=BODY), id="a hexadecimal length"),
        pytest.param(request("Content-Length: 99999999999999999999", body=BODY), id="a length of 20 digits"),
        pytest.param(request("Content-Length : 20", body=BODY), id="a space before the colon"),
        pytest.param(
            request("Transfer-Encoding: xchunked", body=f"{CHUNKED}{HIDDEN}"), id="an encoding like chunked"
        ),
        pytest.param(
            request("Transfer-Encoding: chunked, identity", body=CHUNKED), id="chunked, but not last"
        ),
        pytest.param(
            request("Transfer-Encoding: chunked", "Transfer-Encoding: identity", body=CHUNKED),
            id="two headers of encodings",
        ),
        pytest.param(
            request("Transfer-Encoding:\x0bchunked", body=CHUNKED), id="chunked after a vertical tab"
        ),
        pytest.param(request("Transfer-Encoding: \x00chunked", body=CHUNKED), id="a zero byte"),
        pytest.param(
            request("X: a\r\n Transfer-Encoding: chunked", body=CHUNKED), id="a header folded over two lines"
        ),
        pytest.param(
            request("X: a\nTransfer-Encoding: chunked\nContent-Length: 3", body=CHUNKED), id="bare line feeds"
        ),
        pytest.param(
            request("Transfer-Encoding: chunked", body=f"-1\r\n{BODY}\r\n0\r\n\r\n"), id="a chunk of -1 bytes"
        ),
        pytest.param(
            request("Transfer-Encoding: chunked", body=f"fffffffffffffffff\r\n{BODY}\r\n0\r\n\r\n"),
            id="a chunk of more bytes than fit",
        ),
        pytest.param(
            request("Transfer-Encoding: chunked", body=f"12;a\nb\r\n{BODY}\r\n0\r\n\r\n"),
            id="a line feed in a chunk's extension",
        ),
        pytest.param(
            request("Transfer-Encoding: chunked", version="1.0", body=CHUNKED), id="chunks in HTTP/1.0"
        ),
        pytest.param(f"GET http://x\r\nX: y /v1/models HTTP/1.1\r\n\r\n{HIDDEN}", id="a broken request line"),
    ],
)
async def test_a_request_of_two_lengths_is_refused_and_nothing_reaches_the_engine(
    target: Target, sent: str
) -> None:
    before = len(target.engine.requests)
    received = await target.exchange(sent)
    statuses = [line.split()[1] for line in received.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    assert set(statuses) <= {b"400", b"404", b"426", b"501"}, received
    assert len(target.engine.requests) == before


async def test_an_upgrade_to_http_2_is_not_passed_through(target: Target) -> None:
    upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
    body = f'{{"model": "{target.model}"}}'
    received = await target.exchange(request(*upgrade, f"Content-Length: {len(body)}", body=body))
    assert b"101 Switching" not in received


async def test_a_request_that_is_told_its_length_once_is_answered(target: Target) -> None:
    before = len(target.engine.requests)
    body = f'{{"model": "{target.model}"}}'
    sent = request(f"Content-Length: {len(body)}", "Connection: close", body=body)
    received = await target.exchange(sent, seconds=10)
    assert received.startswith(b"HTTP/1.1 200 OK")
    assert len(target.engine.requests) == before + 1

"""Replicas that fail or leave: who gets the request instead, and who gets none any more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest

from tertium.api.meta import ObjectKey
from tertium.gateway.in_band import BROKE_OFF, error_event
from tertium.kube.cluster import POD
from tests.gateway.parts import a_pod
from tests.gateway.stack import Reply, Stack, an_address, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@asynccontextmanager
async def a_broken_engine(stack: Stack, *chunks: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """An engine that reads a request, sends these chunks and ends the connection; yields its requests."""
    got: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.read(65_536))
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()
        writer.close()

    address = an_address()
    server = await asyncio.start_server(answer, address, stack.layout.engine_port)
    try:
        yield address, got
    finally:
        server.close()
        await server.wait_closed()


async def show(stack: Stack, key: ObjectKey, *addresses: str) -> None:
    for address in addresses:
        stack.cluster.put(POD, a_pod(key, ip=address, ready=True))
    await until(lambda: set(stack.gateway.world.addresses(key)) >= set(addresses))
    await stack.settled()


async def test_a_replica_that_ends_before_its_first_byte_is_replaced_by_another(stack: Stack) -> None:
    key, engine = await stack.deploy(), await stack.start_engine()
    async with a_broken_engine(stack) as (address, got):
        await show(stack, key, address, engine.ip)
        replies: list[Reply] = [await stack.ask(key.name) for _ in range(10)]
        assert [(reply.status, reply.json["by"]) for reply in replies] == [(200, engine.ip)] * 10
        assert len(got) == 1, "it rests after its first failure"


BEGUN: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("path", "said", "told"),
    [
        pytest.param("/v1/chat/completions", b'data: {"n":1}\n\n', True, id="between events, it is told"),
        pytest.param("/v1/responses", b"data: 1\r\n\r\n", True, id="responses have words of their own"),
        pytest.param("/v1/messages?beta=true", b"data: 1\n\n", True, id="and so have Anthropic's messages"),
        pytest.param("/v1/completions", b'data: {"n":', False, id="within an event, nothing can be said"),
    ],
)
async def test_after_the_first_byte_nothing_is_tried_again_and_the_caller_is_told(
    stack: Stack, path: str, said: bytes, told: bool
) -> None:
    key, engine = await stack.deploy(), await stack.start_engine()
    async with a_broken_engine(stack, BEGUN, b"%x\r\n%b\r\n" % (len(said), said)) as (address, got):
        await show(stack, key, address)
        body = json.dumps({"model": key.name, "stream": True})
        code, received = await curl("--json", body, stack.url + path)
        event = error_event(path.partition("?")[0], 502, BROKE_OFF).removesuffix(b"data: [DONE]\n\n")
        assert received == said + (event if told else b"")
        assert code == CUT_OFF, "who does not know of error events sees that it is not the end"
        await show(stack, key, engine.ip)
        assert (len(got), engine.requests) == (1, [])


CUT_OFF: Final = 18
"""What curl ends with when an answer has not come to its end."""


async def curl(*arguments: str) -> tuple[int | None, bytes]:
    """Run curl and return its exit code and what it received."""
    process = await asyncio.create_subprocess_exec(
        *("curl", "-sN"), *arguments, stdout=asyncio.subprocess.PIPE
    )
    received, _ = await process.communicate()
    return process.returncode, received


async def test_a_replica_that_refuses_connections_is_left_alone_after_the_first(stack: Stack) -> None:
    key, engine = await stack.deploy(), await stack.start_engine()
    gone = an_address()
    await show(stack, key, gone, engine.ip)
    for _ in range(20):
        assert (await stack.ask(key.name)).json["by"] == engine.ip
    stat = f"cluster.{key}.upstream_cx_connect_fail"
    assert (await stack.gateway.admin.stats(f"^{stat}$"))[stat] == 1


async def test_a_replica_that_leaves_gets_no_new_request_while_its_stream_goes_on(stack: Stack) -> None:
    key = await stack.deploy()
    leaving, staying = [await stack.start_engine() for _ in range(2)]
    pod = await stack.add_replica(key, leaving)
    stream = asyncio.create_task(stack.ask(key.name, stream=True))
    await until(lambda: leaving.requests)
    await stack.add_replica(key, staying)
    stack.cluster.put(POD, a_pod(key, name=pod, ip=leaving.ip, ready=True, leaving=True))
    await until(lambda: leaving.ip not in stack.gateway.world.addresses(key))
    await stack.settled()
    for _ in range(10):
        assert (await stack.ask(key.name)).json["by"] == staying.ip
    leaving.go_on.set()
    assert (await stream).text.endswith("data: [DONE]\n\n")
    assert len(leaving.requests) == 1

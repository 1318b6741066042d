"""Replicas that fail or leave: who gets the request instead, and who gets none any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tertium.api.meta import ObjectKey
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


async def test_after_the_first_byte_nothing_is_tried_again_and_the_caller_sees_the_end(stack: Stack) -> None:
    key, engine = await stack.deploy(), await stack.start_engine()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with a_broken_engine(stack, head, b'e\r\ndata: {"n":1}\n\r\n') as (address, got):
        await show(stack, key, address)
        with pytest.raises(aiohttp.ClientPayloadError):
            await stack.ask(key.name, stream=True)
        await show(stack, key, engine.ip)
        assert (len(got), engine.requests) == (1, [])


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

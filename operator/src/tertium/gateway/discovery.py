"""The discovery service: Envoy connects to the activator and is sent what it lacks, incrementally."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
from envoy.service.discovery.v3.ads_pb2_grpc import (
    AggregatedDiscoveryServiceServicer,
    add_AggregatedDiscoveryServiceServicer_to_server,
)
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from tertium.gateway.publish import Publisher, Stream


@asynccontextmanager
async def serve_discovery(publisher: Publisher, socket: str) -> AsyncIterator[None]:
    """Serve on a Unix socket. Raises OSError when it cannot be made."""
    server = grpc.aio.server()
    add_AggregatedDiscoveryServiceServicer_to_server(_Discovery(publisher), server)
    try:
        server.add_insecure_port(f"unix:{socket}")
    except RuntimeError as error:
        raise OSError(f"the socket {socket} cannot be made: {error}") from error
    await server.start()
    try:
        yield
    finally:
        await server.stop(grace=None)


class _Discovery(AggregatedDiscoveryServiceServicer):  # type: ignore[misc]  # it has no types
    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def DeltaAggregatedResources(
        self, requests: AsyncIterator[DeltaDiscoveryRequest], context: Any
    ) -> AsyncIterator[DeltaDiscoveryResponse]:
        """Answer one Envoy for as long as it is connected."""
        stream = self._publisher.connect()
        reader = asyncio.create_task(self._read(requests, stream))
        try:
            while not reader.done():
                stream.stirred.clear()
                for response in self._publisher.due(stream):
                    yield response
                await stream.stirred.wait()
            reader.result()
        finally:
            reader.cancel()
            self._publisher.disconnect(stream)

    async def _read(self, requests: AsyncIterator[DeltaDiscoveryRequest], stream: Stream) -> None:
        try:
            async for request in requests:
                await self._publisher.take(stream, request)
        finally:
            stream.stirred.set()

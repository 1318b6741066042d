"""A whole gateway pod: the real Envoy on the rendered files, the real activator, stand-ins around them."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import aiohttp

from e2e.cluster import envoy_filter
from tertium.api.meta import ObjectKey
from tertium.gateway.app import Gateway
from tertium.gateway.prepare import prepare
from tertium.gateway.waiters import DEFAULT_BOUNDS, Bounds
from tertium.kube.cluster import LLM_DEPLOYMENT, POD, Cluster
from tertium.render.envoy.layout import BOOTSTRAP_FILE, Layout
from tests.gateway.parts import Engine, WatchedCluster, a_deployment, a_pod

_addresses = (f"127.77.{high}.{low}" for high in itertools.count(1) for low in range(1, 250))
_names = (f"m{number}" for number in itertools.count(1))


@dataclass
class Reply:
    """A whole answer."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.text)

    @property
    def error(self) -> Any:
        """The error in the body."""
        return self.json["error"]


@dataclass
class Stack:
    """Handles of the running parts."""

    layout: Layout
    session: aiohttp.ClientSession
    report_port: int
    bounds: Bounds = DEFAULT_BOUNDS
    cluster: WatchedCluster = field(default_factory=WatchedCluster)
    engines: list[Engine] = field(default_factory=list)
    running: AsyncExitStack = field(default_factory=AsyncExitStack)
    envoy: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def start_envoy(self) -> None:
        """Start an Envoy that has nothing; it may not listen yet."""
        await self.envoy.enter_async_context(running_envoy(Path(self.layout.directory)))

    async def stop_envoy(self) -> None:
        """Stop it."""
        await self.envoy.aclose()

    async def start_activator(self) -> None:
        """Start an activator that knows nothing yet."""
        self.gateway = Gateway(
            layout=self.layout,
            cluster=cast(Cluster, self.cluster),
            session=self.session,
            holder="test",
            bounds=self.bounds,
            home="tertium",
        )
        await self.running.enter_async_context(
            self.gateway.serving(report_host="127.0.0.1", report_port=self.report_port)
        )

    async def stop_activator(self) -> None:
        """Stop it; Envoy goes on."""
        await self.running.aclose()

    @property
    def url(self) -> str:
        """Where callers connect."""
        return f"http://127.0.0.1:{self.layout.listen_port}"

    async def ask(self, model: str, *, stream: bool = False) -> Reply:
        """Ask a model for a completion."""
        return await self.send(json.dumps({"model": model, "stream": stream}))

    async def send(
        self,
        body: str | bytes,
        *,
        method: str = "POST",
        path: str = "/v1/chat/completions",
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """Send any request; JSON unless `headers` say otherwise."""
        sent = {"Content-Type": "application/json", **(headers or {})}
        data = io.BytesIO(body.encode() if isinstance(body, str) else body)
        async with self.session.request(method, self.url + path, data=data, headers=sent) as answer:
            return Reply(
                answer.status, {k.lower(): v for k, v in answer.headers.items()}, await answer.text()
            )

    async def deploy(self, **spec: Any) -> ObjectKey:
        """Create a deployment with a name of its own and wait until Envoy routes to it."""
        manifest = a_deployment(next(_names), **spec)
        self.cluster.put(LLM_DEPLOYMENT, manifest)
        key = ObjectKey.of(manifest)
        await until(lambda: key in self.gateway.world.table.models)
        await self.settled()
        return key

    async def health(self) -> int:
        """The status of Envoy's health check."""
        async with self.session.get(f"http://127.0.0.1:{self.layout.health_port}/healthz") as answer:
            return answer.status

    async def settled(self) -> None:
        """Wait until Envoy has taken all that was published."""
        await until(lambda: self.gateway.publisher.settled)

    async def start_engine(self, *, healthy: bool = True) -> Engine:
        """Start an engine on an address of its own."""
        engine = Engine(an_address(), self.layout.engine_port)
        engine.healthy = healthy
        await engine.start()
        self.engines.append(engine)
        return engine

    async def add_replica(self, key: ObjectKey, engine: Engine, *, ready: bool = True) -> str:
        """Show a pod of the deployment at the engine's address; wait for a ready one to be published."""
        pod = a_pod(key, ip=engine.ip, ready=ready)
        self.cluster.put(POD, pod)
        if ready:
            await until(lambda: engine.ip in self.gateway.world.addresses(key))
            await self.settled()
        return str(pod["metadata"]["name"])

    async def until_held(self, key: ObjectKey, count: int) -> None:
        """Wait until so many requests are held."""
        await until(lambda: self.gateway.holds.waiters.count(key) == count)


async def until(condition: Any, *, limit_seconds: float = 5.0) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(limit_seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for lives in another process
            await asyncio.sleep(0.005)


async def until_listening(port: int) -> None:
    """Wait until somebody takes connections: Envoy listens a moment after it has said that it has all."""
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)
                continue
            writer.close()
            return


@asynccontextmanager
async def running_stack(
    directory: Path, bounds: Bounds = DEFAULT_BOUNDS, **more: Any
) -> AsyncIterator[Stack]:
    """Start everything, wait until it is ready, stop everything."""
    layout, report = a_layout(directory, **more)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        stack = Stack(layout, session, report, bounds)
        await stack.start_envoy()
        await stack.start_activator()
        await until(lambda: stack.gateway.publisher.configured, limit_seconds=20)
        await until_listening(layout.listen_port)
        try:
            yield stack
        finally:
            await stack.stop_activator()
            await stack.stop_envoy()
            for one in stack.engines:
                await one.stop()


@asynccontextmanager
async def running_envoy(directory: Path) -> AsyncIterator[None]:
    """Envoy on the files of a directory; it may not listen yet."""
    beside = Path(sys.executable).with_name("envoy")
    program = str(beside) if beside.exists() else shutil.which("envoy")
    assert program, "no `envoy` program: install requirements/gateway.txt"
    with (directory / "envoy.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            program,
            "--config-path",
            str(directory / BOOTSTRAP_FILE),
            "--disable-hot-restart",
            "--concurrency",
            "2",
            "--log-level",
            "warning",
            stdout=log,
            stderr=log,
        )
        try:
            yield
        finally:
            process.terminate()
            await process.wait()


def an_address() -> str:
    """A loopback address that nobody had before."""
    return next(_addresses)


def a_layout(directory: Path, **more: Any) -> tuple[Layout, int]:
    """Ports and files of a gateway pod of its own, ready for Envoy to start, and the port of its reports.

    All of one draw: what is free at two moments may be the same port.
    """
    listen, admin, activator, engine, resume, health, report = free_ports(7)
    layout = Layout(
        directory=str(directory),
        listen_port=listen,
        admin_port=admin,
        activator_port=activator,
        engine_port=engine,
        resume_port=resume,
        health_port=health,
        filter_file=str(envoy_filter.build()),
        **more,
    )
    prepare(layout, "test")
    return layout, report


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports

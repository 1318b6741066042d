"""The activator's composition root: builds the parts, runs them, stops them in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import aiohttp
from aiohttp import web
from prometheus_client import CollectorRegistry

from tertium.gateway.activator import activator_app, report_app
from tertium.gateway.demand import Demand
from tertium.gateway.discovery import serve_discovery
from tertium.gateway.drain import outlast_envoy
from tertium.gateway.envoy_admin import EnvoyAdmin
from tertium.gateway.holds import Holds
from tertium.gateway.keys import KeyBook
from tertium.gateway.metrics import GatewayMetrics
from tertium.gateway.probe import Prober
from tertium.gateway.publish import Publisher
from tertium.gateway.resume import Resume
from tertium.gateway.settings import GatewaySettings
from tertium.gateway.streams import Streams
from tertium.gateway.tally import Tally
from tertium.gateway.waiters import DEFAULT_BOUNDS, Bounds
from tertium.gateway.warm_up import WarmUp
from tertium.gateway.world import World
from tertium.kube.cluster import Cluster
from tertium.render.envoy.layout import ACTIVATOR_HOST, SOCKET_FILE, Layout

_STOP_MARGIN_SECONDS: Final = 15.0
_LAST_WORD_SECONDS: Final = 5.0
"""So long before Envoy ends, what is still held is told so."""
_BACKLOG: Final = 4096

_log = logging.getLogger(__name__)


class Gateway:
    """One gateway pod's activator."""

    def __init__(
        self,
        *,
        layout: Layout,
        cluster: Cluster,
        session: aiohttp.ClientSession,
        holder: str,
        bounds: Bounds = DEFAULT_BOUNDS,
        home: str = "",
        gateway_labels: str = "",
    ) -> None:
        self._layout = layout
        self._cluster = cluster
        self.world = World()
        self.admin = EnvoyAdmin(session, layout.admin_port)
        self.tally = Tally(session, layout.resume_port)
        self.publisher = Publisher(layout)
        self._registry = CollectorRegistry()
        metrics = GatewayMetrics(self._registry)
        self.holds = Holds(
            world=self.world,
            publisher=self.publisher,
            admin=self.admin,
            prober=Prober(session, layout.engine_port),
            warm_up=WarmUp(session, layout.engine_port),
            demand=Demand(cluster, holder),
            metrics=metrics,
            bounds=bounds,
        )
        metrics.follow(lambda: self.holds.waiters.total, lambda: self.holds.waiters.body_bytes)
        resume = Resume(session, layout.resume_port)
        self.streams = Streams(self.holds, self.world, resume, metrics, most_bytes=bounds.kept_bytes)
        self.world.on_change = self.holds.take_note
        self.keys = (
            KeyBook(home=home, gateway_labels=gateway_labels, publish=self.publisher.publish_extensions)
            if layout.api_keys
            else None
        )

    @asynccontextmanager
    async def serving(self, *, report_host: str, report_port: int) -> AsyncIterator[asyncio.Task[None]]:
        """Serve both ports and follow the cluster; yields the task that ends only when something broke."""
        self.publisher.restore()
        activator = activator_app(self.world, self.holds, self.streams, self.publisher, self.keys)
        report = report_app(
            self.world,
            self.holds,
            self.streams,
            admin=self.admin,
            tally=self.tally,
            publisher=self.publisher,
            registry=self._registry,
        )
        async with (
            _site(activator, ACTIVATOR_HOST, self._layout.activator_port),
            _site(report, report_host, report_port),
            serve_discovery(self.publisher, self._layout.path(SOCKET_FILE)),
        ):
            task = asyncio.create_task(self._follow())
            try:
                yield task
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
                if self.keys is not None:
                    self.keys.close()
                await self.holds.close()
                self.publisher.close()

    async def _follow(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.world.follow_deployments(self._cluster))
            group.create_task(self.world.follow_pods(self._cluster))
            if self.keys is not None:
                group.create_task(self.keys.follow_keys(self._cluster))
                group.create_task(self.keys.follow_peers(self._cluster))


async def run_gateway(settings: GatewaySettings, cluster: Cluster, stop: asyncio.Event) -> None:
    """Run until `stop` is set and Envoy has drained. Raises what broke, if something did."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, trust_env=False) as session:
        gateway = Gateway(
            layout=settings.layout,
            cluster=cluster,
            session=session,
            holder=settings.pod_name,
            bounds=settings.bounds,
            home=settings.namespace,
            gateway_labels=settings.gateway_labels,
        )
        async with gateway.serving(report_host="0.0.0.0", report_port=settings.report_port) as task:
            _log.info("activator started", extra={"pod": settings.pod_name})
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                stopping.cancel()
                task.result()
            limit = settings.drain_seconds + _STOP_MARGIN_SECONDS
            last_word = settings.drain_seconds - min(_LAST_WORD_SECONDS, settings.drain_seconds / 4)
            speaking = asyncio.get_running_loop().call_later(last_word, gateway.holds.stop)
            await outlast_envoy(gateway.admin, limit_seconds=limit)
            speaking.cancel()
            gateway.holds.stop()
            _log.info("activator stopped", extra={"pod": settings.pod_name})


@asynccontextmanager
async def _site(app: web.Application, host: str, port: int) -> AsyncIterator[None]:
    # Cancelling the handler of a caller that has gone is what frees its place among the held requests.
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=_BACKLOG, reuse_address=True).start()
        yield
    finally:
        await runner.cleanup()

"""Composition root of the operator: builds the parts, runs them together, stops them together.

Every operator watches, so that its store is warm. Only the leader reconciles, and every write it sends
passes the fence of its Lease.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Coroutine
from typing import Any, Final

import aiohttp
from prometheus_client import CollectorRegistry, disable_created_metrics

from tertium.api.conditions import Reason
from tertium.api.meta import ObjectKey
from tertium.api.v1alpha1 import GROUP, PLURAL
from tertium.core.errors import Retryable, Terminal
from tertium.handlers import watch
from tertium.kube.client import KubeCluster
from tertium.kube.cluster import LLM_DEPLOYMENT, Cluster
from tertium.kube.connection import connect
from tertium.kube.intercept import InterceptedCluster
from tertium.kube.watch_age import WatchAges
from tertium.runtime.clock import SystemClock, boot_seconds
from tertium.runtime.controller import Controller
from tertium.runtime.health import Signs, serve_health
from tertium.runtime.leader import Leadership
from tertium.runtime.metrics import Metrics
from tertium.runtime.poll import LoadPoller, over_pod_network
from tertium.runtime.queue import WorkQueue
from tertium.runtime.relist import WATCHED_KINDS
from tertium.runtime.store import Store
from tertium.settings import OperatorSettings

CRD_WAIT_SECONDS: Final = 60.0
CRD_RETRY_SECONDS: Final = 2.0

_log = logging.getLogger(__name__)


async def run_operator(settings: OperatorSettings) -> None:
    """Run until SIGTERM or SIGINT. Raises `Terminal` when there is no cluster, no right or no CRD."""
    store, queue, clock = Store(), WorkQueue[ObjectKey](), SystemClock()
    # Closed until this operator leads: the watches fill the store alone.
    queue.close()
    disable_created_metrics()  # type: ignore[no-untyped-call]
    watching, registry = asyncio.Event(), CollectorRegistry()
    metrics = Metrics(registry)
    async with connect() as connection, aiohttp.ClientSession() as http:
        cluster = InterceptedCluster(KubeCluster(connection), metrics.gate)
        await wait_for_crd(cluster)
        leadership = Leadership(cluster, settings.lease, settings.pod_name, settings.terms, clock)
        fenced = InterceptedCluster(cluster, leadership.gate)
        ages = WatchAges((kind.plural for kind in WATCHED_KINDS), boot_seconds)
        metrics.follow(queue, leading=lambda: leadership.leading, watch_ages=ages.ages, kinds=WATCHED_KINDS)
        controller = Controller(fenced, store, queue, settings.policy, clock, metrics=metrics)
        poller = LoadPoller(
            fenced,
            store,
            settings.policy,
            clock,
            over_pod_network(http),
            gateway=settings.gateway,
            changed=queue.add,
        )

        async def lead() -> None:
            await controller.prepare()
            # The load of what runs is known before anything is said about it.
            await poller.begin()
            async with asyncio.TaskGroup() as group:
                group.create_task(controller.run())
                group.create_task(poller.run())

        signs = Signs(
            stuck_for=queue.stuck_for,
            longest=queue.longest,
            watch_ages=ages.ages,
            api_silence=leadership.silence,
            ready=watching.is_set,
        )
        watches = asyncio.create_task(
            watch(
                store,
                queue,
                server=connection.server,
                open_session=lambda: ages.session(connection),
                ready=watching,
            )
        )
        try:
            async with serve_health(signs, registry, port=settings.health_port):
                await _until_told(watching, watches, leadership.run(lead))
        finally:
            # Last: kopf, as it ends, waits for whatever else still runs, be it a probe's connection.
            await _end(watches)
    _log.info("stopped")


async def _until_told(
    watching: asyncio.Event, watches: asyncio.Task[None], lead: Coroutine[Any, Any, None]
) -> None:
    """Run `lead` until a signal. Raises what it, or the watches, raised: both run for ever but for a bug."""
    leading, stopped = asyncio.create_task(lead), asyncio.create_task(_stopped(watching))
    try:
        done, _ = await asyncio.wait((stopped, watches, leading), return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await _end(leading, stopped)


async def _end(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _stopped(watching: asyncio.Event) -> None:
    """Return on SIGTERM or SIGINT. kopf takes both for itself as it starts, so this begins after that."""
    await watching.wait()
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


async def wait_for_crd(cluster: Cluster) -> None:
    """Wait until the API server knows LLMDeployments.

    Raises `Terminal` after a minute without, or at once when listing them is forbidden.
    """
    deadline = asyncio.get_running_loop().time() + CRD_WAIT_SECONDS
    while True:
        try:
            # Any answer does, and that of all of them may be large.
            await cluster.list(LLM_DEPLOYMENT, fields="metadata.name=none")
        except Retryable as fault:
            if asyncio.get_running_loop().time() > deadline:
                raise Terminal(
                    Reason.INVALID,
                    f"the CustomResourceDefinition {PLURAL}.{GROUP} cannot be used ({fault}); install it "
                    "with the chart, or with `tertium crds | kubectl apply -f -`",
                ) from fault
            _log.warning("waiting for the CustomResourceDefinition", extra={"why": str(fault)})
            await asyncio.sleep(CRD_RETRY_SECONDS)
        else:
            return

"""Composition root of the operator: builds the parts, runs them together, stops them together."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import aiohttp

from tertium.api.conditions import Reason
from tertium.api.meta import ObjectKey
from tertium.api.v1alpha1 import GROUP, PLURAL
from tertium.core.errors import Retryable, Terminal
from tertium.handlers import watch
from tertium.kube.client import KubeCluster
from tertium.kube.cluster import LLM_DEPLOYMENT, Cluster
from tertium.runtime.clock import SystemClock
from tertium.runtime.controller import Controller
from tertium.runtime.health import serve_health
from tertium.runtime.poll import LoadPoller
from tertium.runtime.queue import WorkQueue
from tertium.runtime.relist import relist
from tertium.runtime.store import Store
from tertium.settings import OperatorSettings

CRD_WAIT_SECONDS: Final = 60.0
CRD_RETRY_SECONDS: Final = 2.0

_log = logging.getLogger(__name__)


async def run_operator(settings: OperatorSettings) -> None:
    """Run until SIGTERM or SIGINT. Raises `Terminal` when there is no cluster, no right or no CRD."""
    store, queue, clock = Store(), WorkQueue[ObjectKey](), SystemClock()
    watching = asyncio.Event()
    async with (
        serve_health(queue, port=settings.health_port, ready=watching.is_set),
        KubeCluster.connect() as cluster,
        aiohttp.ClientSession() as http,
    ):
        await wait_for_crd(cluster)
        await relist(cluster, store)
        for key in store.owners:
            queue.add(key)
        _log.info("started", extra={"pod": settings.pod_name, "deployments": len(store.owners)})
        controller = Controller(cluster, store, queue, settings.policy, clock)
        poller = LoadPoller(
            cluster, store, settings.policy, clock, http, gateway=settings.gateway, changed=queue.add
        )
        loops = [asyncio.create_task(controller.run()), asyncio.create_task(poller.run())]
        watches = asyncio.create_task(watch(store, queue, ready=watching))
        try:
            # The watches end on a signal; a loop that ends before is a bug, and a restart the best answer.
            done, _ = await asyncio.wait([watches, *loops], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (watches, *loops):
                task.cancel()
            await asyncio.gather(watches, *loops, return_exceptions=True)
            queue.close()
    _log.info("stopped")


async def wait_for_crd(cluster: Cluster) -> None:
    """Wait until the API server knows LLMDeployments.

    Raises `Terminal` after a minute without, or at once when listing them is forbidden.
    """
    deadline = asyncio.get_running_loop().time() + CRD_WAIT_SECONDS
    while True:
        try:
            await cluster.list(LLM_DEPLOYMENT)
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

"""`tertium gateway prepare | run | drain`: the three programs of a gateway pod."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal

import aiohttp
from pydantic import ValidationError

from tertium.api.conditions import Reason
from tertium.core.errors import Retryable, Terminal
from tertium.gateway.drain import drain_envoy
from tertium.gateway.envoy_admin import EnvoyAdmin
from tertium.gateway.prepare import prepare
from tertium.gateway.settings import GatewaySettings
from tertium.logs import configure_logs

_log = logging.getLogger(__name__)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the actions."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("prepare", help="write the file Envoy starts from (init container)")
    actions.add_parser("run", help="run the activator")
    actions.add_parser("drain", help="drain Envoy and wait for its requests (preStop hook)")


def run(args: argparse.Namespace) -> int:
    """Run one action: 0 done, 1 failed or still busy at the limit. Raises `Terminal` for bad settings."""
    settings = _settings()
    configure_logs(settings.log_level)
    if args.action == "prepare":
        return _prepare(settings)
    return asyncio.run(_drain(settings) if args.action == "drain" else _run(settings))


def _settings() -> GatewaySettings:
    try:
        return GatewaySettings()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = f"TERTIUM_{'_'.join(str(part) for part in first['loc']).upper()}"
        raise Terminal(Reason.INVALID, f"environment variable {name}: {first['msg']}") from error


def _prepare(settings: GatewaySettings) -> int:
    try:
        prepare(settings.layout, settings.pod_name)
    except OSError as error:
        raise Terminal(
            Reason.INVALID, f"TERTIUM_ENVOY_DIR {settings.envoy_dir} cannot be written: {error}"
        ) from error
    return 0


async def _run(settings: GatewaySettings) -> int:
    # They take a second to load, which the hook that drains has not got: until then the pod gets requests.
    from tertium.gateway.app import run_gateway  # noqa: PLC0415
    from tertium.kube.client import KubeCluster  # noqa: PLC0415

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with KubeCluster.connect() as cluster:
        await run_gateway(settings, cluster, stop)
    return 0


async def _drain(settings: GatewaySettings) -> int:
    async with aiohttp.ClientSession() as session:
        try:
            left = await drain_envoy(
                EnvoyAdmin(session, settings.admin_port), limit_seconds=settings.drain_seconds
            )
        except Retryable as fault:
            _log.warning("nothing to drain", extra={"why": str(fault)})
            return 1
    _log.info("drained", extra={"left": left})
    return 1 if left else 0

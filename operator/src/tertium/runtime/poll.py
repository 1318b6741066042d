"""Ask every gateway pod for its load, once a second while any replica exists."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

import aiohttp
from pydantic import ValidationError
from yarl import URL

from tertium.api.load import LoadReport
from tertium.api.meta import Manifest, ObjectKey, parse_time
from tertium.core.errors import Retryable, TertiumError
from tertium.core.load import Received, Reports, load_of
from tertium.core.policy import Policy
from tertium.core.tokens import WRITE_SECONDS
from tertium.kube.cluster import DEPLOYMENT, POD, Cluster
from tertium.runtime.clock import Clock
from tertium.runtime.store import Store

REPORT_PORT: Final = 9110
PERIOD_SECONDS: Final = 1.0
_LIMIT: Final = aiohttp.ClientTimeout(total=2)
_GATEWAY_ROUNDS: Final = 10
_KILL_MARGIN: Final = timedelta(seconds=30)
"""How long after its grace period a pod that was told to stop may still run."""
_MOST_ENDED: Final = 64

Ask: TypeAlias = Callable[[Manifest], Awaitable[bytes]]
"""Takes a gateway pod and returns its load report; raises aiohttp.ClientError, TimeoutError, TertiumError."""

_log = logging.getLogger(__name__)


def over_pod_network(http: aiohttp.ClientSession) -> Ask:
    """Ask a pod at its own address."""

    async def ask(pod: Manifest) -> bytes:
        url = URL.build(scheme="http", host=pod["status"]["podIP"], port=REPORT_PORT, path="/load")
        async with http.get(url, timeout=_LIMIT) as answer:
            answer.raise_for_status()
            return await answer.read()

    return ask


class LoadPoller:
    """Keeps `store.reports` fresh and says which deployments' load has changed."""

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        policy: Policy,
        clock: Clock,
        ask: Ask,
        *,
        gateway: ObjectKey,
        changed: Callable[[ObjectKey], None],
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._policy = policy
        self._clock = clock
        self._ask_pod = ask
        self._gateway = gateway
        self._changed = changed
        self._deployment: Manifest | None = None
        self._rounds = 0
        self._short_since: datetime | None = None
        self._told: dict[str, Received] = {}
        self._ended: deque[tuple[str, Received]] = deque(maxlen=_MOST_ENDED)
        self._seen: dict[ObjectKey, int | None] = {}
        self._counted: dict[ObjectKey, tuple[int, datetime]] = {}
        self._complaint = ""

    async def begin(self) -> None:
        """Ask everyone once, as if for the first time: another operator may have led since.

        It may have added up what is known here of processes that are gone, and have dropped the note of it.
        """
        self._short_since = None
        self._told.clear()
        self._ended.clear()
        await self.try_round()

    async def run(self) -> None:
        """Poll for ever. No fault stops it: what cannot be known makes the load unknown."""
        while True:
            await self.try_round()
            await asyncio.sleep(PERIOD_SECONDS)

    async def try_round(self) -> None:
        """Ask everyone once; a fault is logged when it begins."""
        try:
            await self.round()
            self._complain("")
        except TertiumError as fault:
            self._complain(str(fault))

    async def round(self) -> None:
        """Ask everyone once if anything runs, and say whose load has changed."""
        active = self._store.active()
        if not active:
            self._store.reports = None
            self._seen.clear()
            return
        self._store.reports = await self.ask_all()
        self._announce(active)

    async def ask_all(self) -> Reports:
        """Return what every gateway pod says. They are listed just before: no new one is overlooked.

        Raises `Retryable` when there is no gateway.
        """
        deployment = await self._gateway_deployment()
        pods = await self._pods(deployment)
        answers = await asyncio.gather(*(self._ask(pod) for pod in pods.values()))
        by_pod = dict(zip(pods, answers, strict=True))
        expected = deployment["spec"].get("replicas", 1)
        short = sum(received.required for received in by_pod.values()) < expected
        self._short_since = (self._short_since or self._clock.now()) if short else None
        self._keep_ended(by_pod)
        return Reports(
            by_pod=by_pod, expected=expected, short_since=self._short_since, ended=tuple(self._ended)
        )

    def _keep_ended(self, by_pod: Mapping[str, Received]) -> None:
        """Keep the last report of an Envoy that is gone: what it counted may not be written yet."""
        for pod, last in list(self._told.items()):
            now = by_pod.get(pod)
            if now is None or (now.report and last.report and now.report.epoch != last.report.epoch):
                self._ended.append((pod, self._told.pop(pod)))
        self._told |= {pod: received for pod, received in by_pod.items() if received.report is not None}

    async def _gateway_deployment(self) -> Manifest:
        """Return the gateway's Deployment, read anew every few rounds: it says how many pods to expect."""
        if self._rounds % _GATEWAY_ROUNDS == 0 or self._deployment is None:
            self._deployment = await self._cluster.get(DEPLOYMENT, self._gateway)
        if self._deployment is None:
            raise Retryable(f"there is no gateway Deployment {self._gateway}; nothing is scaled down")
        self._rounds += 1
        return self._deployment

    async def _pods(self, deployment: Manifest) -> Mapping[str, Manifest]:
        selector = deployment["spec"]["selector"]["matchLabels"]
        labels = ",".join(f"{key}={value}" for key, value in sorted(selector.items()))
        pods = await self._cluster.list(POD, namespace=self._gateway.namespace, labels=labels)
        return {pod["metadata"]["name"]: pod for pod in pods}

    async def _ask(self, pod: Manifest) -> Received:
        asked_at = self._clock.now()
        if not _may_have_requests(pod):
            return Received(report=None, at=asked_at, required=False)
        told = pod["metadata"].get("deletionTimestamp")
        required, until = told is None, parse_time(told) + _KILL_MARGIN if told else None
        try:
            report = LoadReport.model_validate_json(await self._ask_pod(pod))
        except (aiohttp.ClientError, TimeoutError, ValidationError, TertiumError) as error:
            pod_name = pod["metadata"]["name"]
            _log.debug("gateway pod gave no load report", extra={"pod": pod_name, "why": str(error)})
            return Received(report=None, at=asked_at, required=required, until=until)
        return Received(report=report, at=asked_at, required=required, until=until)

    def _announce(self, active: Sequence[ObjectKey]) -> None:
        now, fresh = self._clock.now(), self._policy.load_fresh_seconds
        loads = {key: load_of(key, self._store.reports, now, fresh_seconds=fresh) for key in active}
        seen = {key: None if load is None else load.in_flight for key, load in loads.items()}
        for key, in_flight in seen.items():
            has_more = self._has_more(key, now)
            if has_more or key not in self._seen or self._seen[key] != in_flight:
                self._changed(key)
        self._seen = seen

    def _has_more(self, key: ObjectKey, now: datetime) -> bool:
        """Whether more answers were counted, at most once in the time after which they are written."""
        assert self._store.reports is not None
        told = [received.report for received in self._store.reports.by_pod.values() if received.report]
        answered = sum(report.models[str(key)].requests for report in told if str(key) in report.models)
        before, at = self._counted.get(key, (0, datetime.min.replace(tzinfo=UTC)))
        if answered == before or now - at < timedelta(seconds=WRITE_SECONDS):
            return False
        self._counted[key] = (answered, now)
        return True

    def _complain(self, why: str) -> None:
        """Log a fault when it begins, not each second it lasts."""
        if why and why != self._complaint:
            _log.warning("gateway load is not known", extra={"why": why})
        self._complaint = why


def _may_have_requests(pod: Manifest) -> bool:
    status = pod.get("status") or {}
    return bool(status.get("podIP")) and status.get("phase") == "Running"

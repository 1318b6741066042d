"""The load report: what this pod saw of each deployment. Kept from Envoy's counters; no clock, no I/O."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from datetime import datetime

from tertium.api.load import LoadReport, ModelLoad, ReplicaLoad
from tertium.api.meta import ObjectKey
from tertium.gateway.counters import Counters, Requests


class LoadBook:
    """Remembers the counters of the last look, so that a request between two looks is not overlooked."""

    def __init__(self, since: datetime) -> None:
        self._since = since
        self._requests: dict[ObjectKey, Requests] = {}
        self._last_busy: dict[ObjectKey, datetime] = {}

    def report(
        self,
        uids: Mapping[ObjectKey, str],
        counters: Counters,
        held: Callable[[ObjectKey], int],
        now: datetime,
        *,
        epoch: str,
    ) -> LoadReport:
        """Return the report about the deployments with these UIDs and remember the counters.

        A deployment was busy just now when a request runs, when one ran at the last look, or when the count
        of attempts has changed. The time is never too early: it is that of the look, not of the end.
        """
        spent = _by_deployment(counters)
        models: dict[str, ModelLoad] = {}
        for key, uid in uids.items():
            seen = counters.requests.get(str(key), Requests())
            # Envoy counts from zero: what it counted before the first look came since then.
            before = self._requests.get(key, Requests())
            waiting = held(key)
            was_busy = before.active > 0 or before.total != seen.total
            if seen.active > 0 or waiting > 0 or was_busy:
                self._last_busy[key] = now
            self._requests[key] = seen
            tokens = spent[str(key), uid]
            models[str(key)] = ModelLoad(
                uid=uid,
                in_flight=max(seen.active, waiting),
                held=waiting,
                replicas={
                    address: ReplicaLoad(active=calls.active, finished=calls.finished)
                    for address, calls in seen.by_address.items()
                },
                last_finished=self._last_busy.get(key),
                requests=tokens["metered"] + tokens["unmetered"],
                unmetered_requests=tokens["unmetered"],
                prompt_tokens=tokens["prompt_tokens"],
                completion_tokens=tokens["completion_tokens"],
            )
        for gone in self._requests.keys() - uids.keys():
            del self._requests[gone]
            self._last_busy.pop(gone, None)
        return LoadReport(since=self._since, epoch=epoch, models=models)


def _by_deployment(counters: Counters) -> Mapping[tuple[str, str], Mapping[str, int]]:
    """Add up the API keys of each deployment and UID."""
    sums: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for meter, tokens in counters.tokens.items():
        sums[meter.deployment, meter.uid].update(tokens._asdict())
    return sums

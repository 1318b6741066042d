"""The load report: what this pod saw of each deployment. Kept from Envoy's counters; no clock, no I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from tertium.api.load import LoadReport, ModelLoad
from tertium.api.meta import ObjectKey
from tertium.gateway.envoy_admin import Requests


class LoadBook:
    """Remembers the counters of the last look, so that a request between two looks is not overlooked."""

    def __init__(self, since: datetime) -> None:
        self._since = since
        self._counters: dict[ObjectKey, Requests] = {}
        self._last_busy: dict[ObjectKey, datetime] = {}

    def report(
        self,
        keys: Iterable[ObjectKey],
        requests: Mapping[str, Requests],
        held: Callable[[ObjectKey], int],
        now: datetime,
    ) -> LoadReport:
        """Return the report and remember these counters.

        A deployment was busy just now when a request runs, when one ran at the last look, or when the count
        of attempts has changed. The time is never too early: it is that of the look, not of the end.
        """
        models: dict[str, ModelLoad] = {}
        known = set(keys)
        for key in known:
            seen = requests.get(str(key), Requests())
            # Envoy counts from zero: what it counted before the first look came since then.
            before = self._counters.get(key, Requests())
            waiting = held(key)
            was_busy = before.active > 0 or before.total != seen.total
            if seen.active > 0 or waiting > 0 or was_busy:
                self._last_busy[key] = now
            self._counters[key] = seen
            models[str(key)] = ModelLoad(
                in_flight=max(seen.active, waiting),
                held=waiting,
                streams=dict(seen.by_address),
                last_finished=self._last_busy.get(key),
            )
        for gone in self._counters.keys() - known:
            del self._counters[gone]
            self._last_busy.pop(gone, None)
        return LoadReport(since=self._since, models=models)

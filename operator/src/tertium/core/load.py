"""Load of one deployment, from the reports of all gateway pods. Unknown is never read as silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tertium.api.load import LoadReport
from tertium.api.meta import ObjectKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Requests of one deployment at the whole gateway."""

    in_flight: int
    """Requests not yet fully answered, held ones included."""
    quiet_since: datetime
    """When the last request ended, or since when none was seen; only meaningful with nothing in flight."""
    streams: Mapping[str, int] = field(default_factory=dict)
    """Requests that run, by the replica's IP address; a replica without any may be missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A report, or None where the pod gave none, and when it was asked for."""

    report: LoadReport | None
    at: datetime
    required: bool = True
    """The pod may get requests: without its report the load is unknown. A terminating pod only finishes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reports:
    """What is known of the whole gateway."""

    by_pod: Mapping[str, Received]
    expected: int
    """How many pods the gateway should have."""


def load_of(owner: ObjectKey, reports: Reports | None, now: datetime, *, fresh_seconds: float) -> Load | None:
    """Return the load of `owner`, or None when it is not known.

    | reports                                              | result  |
    | fewer required pods than expected, or none expected  | unknown |
    | a required pod without a fresh report                | unknown |
    | a required pod that does not know the deployment     | unknown |
    | all there                                            | the sum |
    """
    if reports is None or reports.expected == 0:
        return None
    required = [received for received in reports.by_pod.values() if received.required]
    if len(required) < reports.expected:
        return None
    oldest = now - timedelta(seconds=fresh_seconds)
    if not all(_knows(received, owner, oldest) for received in required):
        return None
    return _sum(owner, [received for received in reports.by_pod.values() if _knows(received, owner, oldest)])


def _knows(received: Received, owner: ObjectKey, oldest: datetime) -> bool:
    return received.report is not None and received.at >= oldest and str(owner) in received.report.models


def _sum(owner: ObjectKey, known: Sequence[Received]) -> Load:
    reports = [received.report for received in known if received.report is not None]
    loads = [(report.since, report.models[str(owner)]) for report in reports]
    streams: Counter[str] = Counter()
    for _, load in loads:
        streams.update(load.streams)
    return Load(
        in_flight=sum(load.in_flight for _, load in loads),
        quiet_since=max(load.last_finished or since for since, load in loads),
        streams=streams,
    )

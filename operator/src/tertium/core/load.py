"""Load of one deployment, from all gateway pods' reports. Neither unknown nor loss is read as silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from tertium.api.load import LoadReport, ModelLoad
from tertium.api.meta import ObjectKey

LOST_SECONDS: Final = 600
"""How long a gateway pod that should be there and is not is waited for: its node may be cut off, not dead."""


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
    """The pod may get new requests."""
    until: datetime | None = None
    """Until when a pod that is told to stop may still finish requests; None: it is not told so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reports:
    """What is known of the whole gateway."""

    by_pod: Mapping[str, Received]
    """Every pod that exists, answering or not."""
    expected: int
    """How many pods the gateway should have."""
    short_since: datetime | None = None
    """Since when there have been fewer; None: there are enough."""
    ended: tuple[tuple[str, Received], ...] = ()
    """The last report of Envoy processes that are gone, with the pod's name."""


def load_of(owner: ObjectKey, reports: Reports | None, now: datetime, *, fresh_seconds: float) -> Load | None:
    """Return the load of `owner`, or None when it is not known.

    | reports                                                     | result                               |
    | none expected, or no pod that may get requests              | unknown                              |
    | fewer such pods than expected, for less than LOST_SECONDS   | unknown                              |
    | fewer, for longer                                           | the missing ones are lost            |
    | such a pod without a fresh report                           | unknown                              |
    | such a pod that does not know the deployment                | unknown                              |
    | a pod told to stop, without a fresh report, within its time | unknown                              |
    | the same, after it                                          | lost                                 |
    | all others                                                  | the sum                              |

    What a lost process had in flight has ended, but not before it was lost: the idle clock starts there.
    """
    if reports is None or reports.expected == 0 or _awaits_missing(reports, now):
        return None
    oldest = now - timedelta(seconds=fresh_seconds)
    loads: list[ModelLoad] = []
    quiet: list[datetime] = []
    for received in reports.by_pod.values():
        load = _fresh(received, owner, oldest)
        if load is not None and received.report is not None:
            loads.append(load)
            quiet.append(load.last_finished or received.report.since)
        elif received.required or (received.until is not None and now < received.until):
            return None
        elif received.until is not None:
            quiet.append(received.until)
    streams: Counter[str] = Counter()
    for load in loads:
        streams.update({address: replica.active for address, replica in load.replicas.items()})
    return Load(
        in_flight=sum(load.in_flight for load in loads),
        quiet_since=max((*quiet, *_losses(reports, owner))),
        streams=streams,
    )


def _awaits_missing(reports: Reports, now: datetime) -> bool:
    there = sum(received.required for received in reports.by_pod.values())
    if there == 0:
        return True
    since = reports.short_since or now
    return there < reports.expected and now - since < timedelta(seconds=LOST_SECONDS)


def _fresh(received: Received, owner: ObjectKey, oldest: datetime) -> ModelLoad | None:
    if received.report is None or received.at < oldest:
        return None
    return received.report.models.get(str(owner))


def _losses(reports: Reports, owner: ObjectKey) -> list[datetime]:
    """Return when the last request ended, or was lost, at each process that is gone."""
    found = []
    for _, received in reports.ended:
        load = received.report.models.get(str(owner)) if received.report else None
        if load is not None and load.in_flight:
            found.append(received.at)
        elif load is not None and load.last_finished is not None:
            found.append(load.last_finished)
    return found

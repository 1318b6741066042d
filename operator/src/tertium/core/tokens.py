"""Requests and tokens a deployment has served, from the counters of all gateways. Pure; the status remembers.

Each Envoy process counts from zero, under the name of its epoch, and its counters go with it. Beside the sums
stands how much of each epoch is in them, and both are written in one step. So a crash between two passes, a
restart of the operator or a pass on an older status counts nothing twice and leaves nothing out.

What was counted and not yet written is lost only with a gateway process that ends while no operator looks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from tertium.api.load import LoadReport
from tertium.api.meta import ObjectKey, format_time, parse_time
from tertium.api.v1alpha1 import CountedGateway, Usage
from tertium.core.load import Reports

WRITE_SECONDS: Final = 300
"""How often sums are written at most while nothing else is; at the same time the most that can be lost."""
_NUMBERS: Final = ("requests", "unmetered_requests", "prompt_tokens", "completion_tokens")
_MOST_GATEWAYS: Final = 100
"""What the API's list may hold; a gateway process beyond it is not counted until one is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What all gateway processes have counted for one deployment."""

    counted: tuple[CountedGateway, ...] = ()
    """By epoch; processes that are gone included, as long as it is known what they had counted."""
    epochs: Mapping[str, str | None] = field(default_factory=dict)
    """The epoch of each gateway pod that exists; None: it did not say."""


def tally_of(owner: ObjectKey, uid: str, reports: Reports | None) -> Tally | None:
    """Return what the reports say of one deployment, or None when there are none."""
    if reports is None:
        return None
    told = [(pod, received.report) for pod, received in (*reports.by_pod.items(), *reports.ended)]
    return Tally(
        counted=tuple(_counted(owner, uid, ((pod, report) for pod, report in told if report is not None))),
        epochs={
            pod: (received.report.epoch or None) if received.report else None
            for pod, received in reports.by_pod.items()
        },
    )


def _counted(owner: ObjectKey, uid: str, told: Iterable[tuple[str, LoadReport]]) -> Iterable[CountedGateway]:
    for pod, report in told:
        load = report.models.get(str(owner))
        # Another UID is another deployment of the same name, and its tokens are not this one's.
        if report.epoch and load is not None and load.uid == uid and load.requests:
            yield CountedGateway(
                epoch=report.epoch, pod=pod, **{name: getattr(load, name) for name in _NUMBERS}
            )


def add_tokens(before: Usage, tally: Tally | None, now: datetime) -> Usage:
    """Return the account with all that was counted.

    | an epoch is noted | reported  | its pod                           | result                     |
    | no                | yes       | any                               | all of it is added, noted  |
    | yes               | more      | any                               | the difference is added    |
    | yes               | not more  | any                               | as it is                   |
    | yes               | no        | is there, tells no other epoch    | as it is                   |
    | yes               | no        | is gone, or tells another epoch   | in the sums; noted no more |
    """
    if tally is None:
        return before
    noted = {entry.epoch: entry for entry in before.counted}
    counted = {entry.epoch: entry for entry in tally.counted}
    first = sorted(counted, key=lambda epoch: (epoch not in noted, counted[epoch].pod, epoch))
    sums = {name: getattr(before, name) for name in _NUMBERS}
    entries = {
        epoch: entry for epoch, entry in noted.items() if epoch not in counted and _may_return(entry, tally)
    }
    for epoch in first[: _MOST_GATEWAYS - len(entries)]:
        entry, base = counted[epoch], noted.get(epoch)
        reached = {name: max(getattr(entry, name), getattr(base, name, 0)) for name in _NUMBERS}
        for name in _NUMBERS:
            sums[name] += reached[name] - getattr(base, name, 0)
        entries[epoch] = entry.model_copy(update=reached)
    added = any(sums[name] != getattr(before, name) for name in _NUMBERS)
    update = {
        **sums,
        "counted_at": format_time(now) if added else before.counted_at,
        "counted": tuple(sorted(entries.values(), key=lambda entry: (entry.pod, entry.epoch))),
    }
    return before.model_copy(update=update)


def seconds_until_written(before: Usage, tally: Tally | None, now: datetime) -> float | None:
    """Return how long what was counted may wait to be written, 0 when it is due; None: there is nothing."""
    after = add_tokens(before, tally, now)
    if all(getattr(after, name) == getattr(before, name) for name in _NUMBERS):
        return None
    if before.counted_at is None:
        return 0.0
    due = parse_time(before.counted_at) + timedelta(seconds=WRITE_SECONDS)
    return max(0.0, (due - now).total_seconds())


def _may_return(entry: CountedGateway, tally: Tally) -> bool:
    return entry.pod in tally.epochs and tally.epochs[entry.pod] in (None, entry.epoch)

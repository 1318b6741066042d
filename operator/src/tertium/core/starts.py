"""Failed starts: what is remembered of them, whether a rollout is taken back for one, and how long to rest.

Pure. The memory itself lies in the status, so that a restart of the operator neither forgets nor prolongs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from tertium.api.meta import format_time, parse_time
from tertium.api.v1alpha1 import LLMDeploymentStatus, StartFailures
from tertium.core.lifecycle import rest_seconds, start_failure
from tertium.core.observed import EngineSet, Observed, Owner

RETURNED: Final = "It could not be started; the revision before it serves again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Starts:
    """How starts have gone, as of now."""

    failures: StartFailures | None
    anchor: EngineSet | None
    """The revision to return to when the wanted one cannot start; None: there is none, or nobody asked."""

    @property
    def rolled_back(self) -> bool:
        """Whether the wanted revision is given up until the spec changes."""
        return self.anchor is not None and self.failures is not None

    def rest_left(self, revision: str, now: datetime) -> float:
        """Return for how many seconds no start of `revision` is tried; 0 when one may be."""
        if self.failures is None or self.failures.revision != revision:
            return 0.0
        end = parse_time(self.failures.last_at) + timedelta(seconds=rest_seconds(self.failures.count))
        return max(0.0, (end - now).total_seconds())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failed:
    revision: str
    begun: datetime
    message: str


def judge_starts(owner: Owner, observed: Observed, wanted: str, now: datetime) -> Starts:
    """Return what is to be remembered after this look at the world; `wanted` is the revision asked for.

    | remembered before           | seen now                                  | remembered after          |
    | anything                    | a start begun since then has failed       | it, and one more          |
    | of the wanted revision      | a replica begun since then answers        | nothing                   |
    | of the one returned to      | a replica begun since then answers        | that the wanted one failed |
    | of either                   | neither                                   | the same                  |
    | of another, or nothing      | no failure                                | nothing                   |
    """
    before = owner.identity.status
    anchor = _anchor(owner, observed, wanted)
    last = before.start_failures
    if last is not None and not _is_about(last, before, wanted, anchor):
        last = None
    since = parse_time(last.last_at) if last else None
    # What the former revision does counts only once it was returned to.
    revisions = {wanted, anchor.revision} if anchor and last else {wanted}
    failed = next(_failed(owner, observed, revisions, since, now), None)
    if failed is not None:
        last = StartFailures(
            revision=failed.revision,
            count=(last.count if last else 0) + 1,
            # The API server's clock may be ahead of ours: its pod must not be counted twice.
            last_at=format_time(max(now, failed.begun)),
            message=failed.message,
        )
    elif last is not None and since is not None and _answers(observed, last.revision, since):
        returned = StartFailures(revision=wanted, count=1, last_at=last.last_at, message=RETURNED)
        last = None if last.revision == wanted else returned
    return Starts(failures=last, anchor=anchor)


def _anchor(owner: Owner, observed: Observed, wanted: str) -> EngineSet | None:
    """Return the revision that served before the wanted one, where `onFailure: Rollback` asks for it."""
    rollout = owner.identity.status.rollout
    if rollout is None or owner.spec.rollout.on_failure != "Rollback":
        return None
    revision = rollout.serving_revision
    if revision == wanted:
        return None
    return observed.made_by(revision)


def _is_about(
    last: StartFailures, before: LLMDeploymentStatus, wanted: str, anchor: EngineSet | None
) -> bool:
    """Whether a remembered failure concerns what is wanted now, or the return from exactly that."""
    if last.revision == wanted:
        return True
    same_rollout = before.rollout is not None and before.rollout.revision == wanted
    return same_rollout and anchor is not None and last.revision == anchor.revision


def _failed(
    owner: Owner, observed: Observed, revisions: set[str], since: datetime | None, now: datetime
) -> Iterator[_Failed]:
    """Yield the starts that fail now and were begun after `since`."""
    for pod in (*observed.pods, *observed.ended_pods):
        if pod.revision in revisions and (since is None or pod.created > since):
            failure = start_failure(pod, now, owner.spec.engine.start_seconds)
            if failure is not None:
                yield _Failed(revision=pod.revision, begun=pod.created, message=failure.message)
    for engine in observed.engines:
        stuck = engine.stuck_since
        if engine.revision in revisions and engine.replicas and stuck and (since is None or stuck > since):
            yield _Failed(revision=engine.revision, begun=stuck, message=engine.stuck)


def _answers(observed: Observed, revision: str, since: datetime) -> bool:
    return any(pod.revision == revision and pod.created > since for pod in observed.ready_pods)

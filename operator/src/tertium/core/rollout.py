"""How many replicas of each revision, while one replaces another and afterwards.

Pure. It knows how many replicas there should be in all and which revision they should be of; not why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from tertium.api.v1alpha1 import RolloutStatus
from tertium.core.blueprint import Document, first_difference
from tertium.core.observed import EngineSet, Observed, Owner
from tertium.core.placement import Placed
from tertium.core.plan import EngineGoal
from tertium.core.starts import Starts

SURGE: Final = 1
"""Replicas that a rollout may have beyond those wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """Which revision replicas move to, and from where."""

    owner: Owner
    observed: Observed
    placed: Placed
    starts: Starts
    now: datetime

    @property
    def current(self) -> str:
        """The revision the spec asks for."""
        return wanted_revision(self.owner, self.observed, self.placed)

    @property
    def aim(self) -> str:
        """The revision that should answer in the end: the current one; after a rollback that before it."""
        anchor = self.starts.anchor
        return anchor.revision if anchor and self.starts.rolled_back else self.current

    @property
    def rest_left(self) -> float:
        """For how many seconds no start of that revision is tried."""
        return self.starts.rest_left(self.aim, self.now)

    @property
    def others(self) -> Sequence[EngineSet]:
        """The other revisions, newest first."""
        return [engine for engine in self.observed.engines if engine.revision != self.aim]

    @property
    def others_answer(self) -> bool:
        """Whether a replica of another revision answers requests."""
        return any(self.ready(engine.revision) for engine in self.others)

    @property
    def moving(self) -> bool:
        """Whether one revision was already replacing another."""
        before = self.owner.identity.status.rollout
        several = sum(engine.replicas > 0 for engine in self.observed.engines) > 1
        return several or (before is not None and before.first_difference != "")

    @property
    def asked(self) -> int:
        """Replicas the whole deployment was last meant to have.

        While one revision replaces another their counts do not add up to that, so the last decision counts.
        """
        before = self.owner.identity.status.scaling
        return before.desired if self.moving and before else self.observed.replicas

    def ready(self, revision: str) -> int:
        """Replicas of a revision that answer."""
        return sum(pod.revision == revision for pod in self.observed.ready_pods)


def wanted_revision(owner: Owner, observed: Observed, placed: Placed) -> str:
    """Return the revision the spec asks for; without a plan the last one that was planned; empty: none."""
    if placed.revision:
        return placed.revision
    known = [engine.revision for engine in observed.engines]
    before = owner.identity.status.rollout
    return before.revision if before and before.revision in known else next(iter(known), "")


def engine_goals(course: Course, wanted: int, rollout: RolloutStatus | None) -> tuple[EngineGoal, ...]:
    """Return what each revision should come to so that `wanted` replicas answer; the wanted one first.

    | strategy | the others           | the aimed-at one  | it gets               | the others keep          |
    | Surge    | r ready, g hold GPUs | n ready           | wanted + 1 - g        | r, at most wanted - n    |
    | Recreate | have pods            | any               | no more than it has   | none                     |
    | Recreate | have no pods         | any               | wanted                | -                        |
    | any      | some answer          | n ready, it rests | n                     | wanted - n: they fill in |
    | any      | none answers         | n ready, it rests | n                     | none                     |

    So a rollout never has more than `wanted + 1` replicas, those included that still finish their answers,
    and never fewer ready than before it (up to `wanted`); one that cannot start takes nothing down.
    """
    counts, current, blueprint = _counts(course, wanted), course.current, course.placed.blueprint
    kept = {current}
    if course.starts.anchor is not None and rollout is not None:
        kept.add(rollout.serving_revision)
    busy = {pod.revision for pod in course.observed.pods}
    goals = []
    if blueprint is not None:
        goals.append(EngineGoal(revision=current, replicas=counts.get(current, 0), blueprint=blueprint))
    for engine in course.observed.engines:
        if blueprint is None or engine.revision != current:
            count = counts.get(engine.revision, 0)
            empty = count == engine.replicas == 0 and engine.revision not in busy
            drop = empty and engine.revision not in kept
            goals.append(EngineGoal(revision=engine.revision, replicas=count, drop=drop))
    return tuple(goals)


def rollout_status(course: Course, wanted: int) -> RolloutStatus | None:
    """Return which revision is wanted and which one answers.

    | the wanted revision      | another one                    | serving          | first difference |
    | was rolled back from     | -                              | the one before it | theirs          |
    | any                      | answers                        | that one         | theirs           |
    | answers                  | none answers                   | the wanted one   | -                |
    | is to answer, does not   | was being replaced (Recreate)  | that one         | theirs           |
    | otherwise                | -                              | none             | -                |
    """
    before = course.owner.identity.status.rollout
    current = course.current
    if not current:
        return before
    answering = [
        engine
        for engine in course.observed.engines
        if engine.revision != current and course.ready(engine.revision)
    ]
    former = course.starts.anchor if course.starts.rolled_back else next(iter(answering), None)
    if former is not None:
        difference = first_difference(former.document, _document(course, current))
        return RolloutStatus(
            revision=current, serving_revision=former.revision, first_difference=difference[:1024]
        )
    if course.ready(current):
        return RolloutStatus(revision=current, serving_revision=current)
    if before is not None and before.first_difference and before.serving_revision != current and wanted > 0:
        return before.model_copy(update={"revision": current})
    return RolloutStatus(revision=current)


def _counts(course: Course, wanted: int) -> Mapping[str, int]:
    """Return replicas by revision; a revision that is not in it gets none."""
    aim, ready = course.aim, min(course.ready(course.aim), wanted)
    resting = course.rest_left > 0
    has = next((engine.replicas for engine in course.observed.engines if engine.revision == aim), 0)
    others = {engine.revision for engine in course.others}
    if course.owner.spec.rollout.strategy == "Recreate" and not (resting and course.others_answer):
        busy = any(pod.revision in others and not pod.overstays(course.now) for pod in course.observed.pods)
        return {aim: ready if resting else min(has, wanted) if busy else wanted}
    keep: dict[str, int] = {}
    missing = wanted - ready
    for engine in course.others:
        keep[engine.revision] = min(course.ready(engine.revision), missing)
        missing -= keep[engine.revision]
    if resting:
        filling = next((revision for revision, count in keep.items() if count), None)
        return {aim: ready, **keep, **({filling: keep[filling] + missing} if filling else {})}
    held = sum(pod.holds_gpus(course.now) and pod.revision in others for pod in course.observed.pods)
    most = wanted + SURGE - sum(keep.values())
    return {**keep, aim: min(wanted, most, max(has, wanted + SURGE - held, 0))}


def _document(course: Course, revision: str) -> Document:
    if course.placed.blueprint is not None:
        return course.placed.blueprint.document
    made = (engine.document for engine in course.observed.engines if engine.revision == revision)
    return next(made, {})

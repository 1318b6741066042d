"""How replicas are divided among revisions: the tables of the rollout, row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from tertium.api.v1alpha1 import LLMDeploymentStatus, RolloutStatus, ScalingStatus, StartFailures
from tertium.core.lifecycle import EnginePod
from tertium.core.observed import EngineSet
from tertium.core.placement import Placed
from tertium.core.plan import EngineGoal, NoSizing, Sized
from tertium.core.rollout import Course, engine_goals, rollout_status
from tertium.core.starts import Starts
from tests.factories import NOW, a_blueprint, a_pod, an_engine_set, an_owner, at, observed, seconds

NEW = a_blueprint({"engine": {"args": ["--seed=1"]}})
DIFFERENCE = 'spec.engine.args: (none) -> ["--seed=1"]'
OLD = a_blueprint()
SURGE = {"engine": {"args": ["--seed=1"]}}
RECREATE = {**SURGE, "rollout": {"strategy": "Recreate"}}
ROLLBACK = {**SURGE, "rollout": {"onFailure": "Rollback"}}


@dataclass(frozen=True)
class Have:
    """What one revision has: the count its Deployment asks for, and its pods by state."""

    replicas: int = 0
    ready: int = 0
    starting: int = 0
    leaving: int = 0
    lost: int = 0

    def pods(self, revision: str) -> Sequence[EnginePod]:
        def many(count: int, state: str, **fields: Any) -> list[EnginePod]:
            return [a_pod(f"{revision}-{state}-{n}", revision=revision, **fields) for n in range(count)]

        return [
            *many(self.ready, "ready", ready=NOW - seconds(9)),
            *many(self.starting, "starting"),
            *many(self.leaving, "leaving", terminating=True, leaves_by=NOW + seconds(60)),
            *many(self.lost, "lost", terminating=True, leaves_by=NOW - seconds(60)),
        ]


def failed(revision: str) -> StartFailures:
    return StartFailures(revision=revision, count=1, last_at=at(-10), message="it broke")


def course(
    old: Have | None,
    new: Have | None,
    *,
    spec: Mapping[str, Any] = SURGE,
    failures: StartFailures | None = None,
    anchored: bool = False,
    status: LLMDeploymentStatus | None = None,
    planned: bool = True,
) -> Course:
    engines: list[EngineSet] = []
    pods: list[EnginePod] = []
    for blueprint, have in ((NEW, new), (OLD, old)):
        if have is not None:
            engines.append(an_engine_set(of=blueprint, replicas=have.replicas))
            pods += have.pods(blueprint.revision)
    placed = Placed(sizing=NoSizing(status="False", reason="DoesNotFit", message="no"))  # type: ignore[arg-type]
    if planned:
        sizing = Sized(plan=NEW.plan, reason="Fits")  # type: ignore[arg-type]
        placed = Placed(sizing=sizing, revision=NEW.revision, blueprint=NEW)
    return Course(
        owner=an_owner(dict(spec), status=status),
        observed=observed(pods=tuple(pods)).__class__(engines=tuple(engines), pods=tuple(pods)),
        placed=placed,
        starts=Starts(failures=failures, anchor=engines[-1] if anchored else None),
        now=NOW,
    )


def counts(goals: Sequence[EngineGoal]) -> tuple[int, int]:
    """Replicas of the old and of the new revision; -1 is a revision that is dropped."""
    found = {goal.revision: -1 if goal.drop else goal.replicas for goal in goals}
    return found.get(OLD.revision, 0), found.get(NEW.revision, 0)


def row(
    old: Have | None, new: Have | None, wanted: int, expected: tuple[int, int], *, id: str, **more: Any
) -> Any:
    return pytest.param(course(old, new, **more), wanted, expected, id=id)


ROWS = [
    row(None, None, 1, (0, 1), id="with nothing to replace the count is simply that"),
    row(Have(), Have(), 2, (-1, 2), id="an empty former revision is dropped"),
    row(Have(), None, 0, (-1, 0), id="at zero a changed spec replaces nothing"),
    row(Have(leaving=1), Have(), 0, (0, 0), id="a revision is kept until its last pod is gone"),
    row(Have(1, ready=1), None, 1, (1, 1), id="surge: one new replica beside the old one"),
    row(Have(1, ready=1), Have(1, starting=1), 1, (1, 1), id="surge: the old one stays while the new starts"),
    row(Have(1, ready=1), Have(1, ready=1), 1, (0, 1), id="surge: it goes once the new one answers"),
    row(Have(3, ready=3), None, 3, (3, 1), id="surge: only one more of several"),
    row(Have(3, ready=3), Have(1, ready=1), 3, (2, 1), id="surge: an old one for each new one that answers"),
    row(Have(2, ready=2), Have(1, ready=1), 3, (2, 2), id="surge: and the next new one once it is gone"),
    row(
        Have(2, ready=2, leaving=1),
        Have(1, ready=1),
        3,
        (2, 1),
        id="surge: one that still finishes its answers holds its GPUs",
    ),
    row(
        Have(2, ready=2, lost=1),
        Have(1, ready=1),
        3,
        (2, 2),
        id="surge: one whose node is lost holds none",
    ),
    row(Have(2, starting=2), None, 2, (0, 1), id="surge: an old one that does not answer is no loss"),
    row(Have(1), None, 2, (0, 2), id="surge: one that waits for a GPU holds none"),
    row(Have(3, ready=3), None, 1, (1, 0), id="surge: fewer are wanted by now"),
    row(Have(1, ready=1), None, 3, (1, 3), id="surge: more are wanted by now"),
    row(Have(2, ready=2), None, 2, (0, 0), id="recreate: the old ones first", spec=RECREATE),
    row(Have(leaving=2), None, 2, (0, 0), id="recreate: until the last is gone", spec=RECREATE),
    row(Have(lost=1), None, 2, (0, 2), id="recreate: a lost node is not waited for", spec=RECREATE),
    row(Have(), Have(), 2, (-1, 2), id="recreate: then all new ones", spec=RECREATE),
    row(
        Have(2, ready=2),
        Have(1, starting=1),
        2,
        (0, 1),
        id="recreate: what a surge has begun is kept, not more",
        spec=RECREATE,
    ),
    row(
        Have(2, ready=2),
        Have(1, starting=1),
        2,
        (2, 0),
        id="a new revision that fails takes nothing down and frees its GPUs",
        failures=failed(NEW.revision),
    ),
    row(
        Have(1, ready=1),
        Have(1, ready=1, starting=1),
        2,
        (1, 1),
        id="what answers of it stays, and the old ones carry the rest",
        failures=failed(NEW.revision),
    ),
    row(
        Have(1, ready=1),
        Have(),
        3,
        (3, 0),
        id="meanwhile the old ones fill in for what is wanted",
        failures=failed(NEW.revision),
    ),
    row(
        Have(2, ready=2),
        Have(1, ready=0),
        2,
        (2, 0),
        id="recreate chosen after a surge has failed takes nothing down either",
        spec=RECREATE,
        failures=failed(NEW.revision),
    ),
    row(
        Have(2, ready=2),
        Have(1, starting=1),
        2,
        (2, 0),
        id="rollback: the old ones stay",
        spec=ROLLBACK,
        failures=failed(NEW.revision),
        anchored=True,
    ),
    row(
        Have(1, ready=1),
        Have(1, ready=1),
        2,
        (2, 1),
        id="rollback: new ones that answer are replaced, not stopped",
        spec=ROLLBACK,
        failures=failed(NEW.revision),
        anchored=True,
    ),
    row(
        Have(),
        Have(1, starting=1),
        2,
        (2, 0),
        id="rollback: the former revision starts again",
        spec=ROLLBACK,
        failures=failed(NEW.revision),
        anchored=True,
    ),
    row(
        Have(),
        Have(1, starting=1),
        2,
        (0, 0),
        id="rollback after recreate: what failed leaves first",
        spec={**ROLLBACK, "rollout": {"strategy": "Recreate", "onFailure": "Rollback"}},
        failures=failed(NEW.revision),
        anchored=True,
    ),
    row(
        Have(),
        Have(),
        0,
        (0, 0),
        id="rollback: the former revision is kept asleep",
        spec=ROLLBACK,
        failures=failed(NEW.revision),
        anchored=True,
    ),
    row(Have(2, ready=2), None, 2, (2, 0), id="without a plan what runs stays", planned=False),
    row(Have(2, ready=2), None, 1, (1, 0), id="without a plan it can still be fewer", planned=False),
    row(Have(), None, 0, (0, 0), id="without a plan the last revision is kept", planned=False),
]


@pytest.mark.parametrize(("where", "wanted", "expected"), ROWS)
def test_goals(where: Course, wanted: int, expected: tuple[int, int]) -> None:
    assert counts(engine_goals(where, wanted, rollout_status(where, wanted))) == expected


def test_a_former_revision_is_only_rescaled_and_the_wanted_one_made() -> None:
    where = course(Have(1, ready=1), None)
    new, old = engine_goals(where, 1, None)
    assert (new.blueprint, old.blueprint) == (NEW, None)


def before(rollout: RolloutStatus, desired: int = 2) -> LLMDeploymentStatus:
    return LLMDeploymentStatus(rollout=rollout, scaling=ScalingStatus(desired=desired, why="-"))


RECREATING = RolloutStatus(revision=NEW.revision, serving_revision=OLD.revision, first_difference=DIFFERENCE)


@pytest.mark.parametrize(
    ("where", "wanted", "serving", "difference"),
    [
        pytest.param(course(Have(1, ready=1), None), 1, OLD.revision, DIFFERENCE, id="the old one answers"),
        pytest.param(
            course(Have(1, ready=1), Have(1, ready=1)), 1, OLD.revision, DIFFERENCE, id="both answer"
        ),
        pytest.param(course(Have(), Have(1, ready=1)), 1, NEW.revision, "", id="the new one alone answers"),
        pytest.param(course(Have(), Have(1, starting=1)), 1, "", "", id="a wake after a change at zero"),
        pytest.param(
            course(Have(leaving=1), Have(), spec=RECREATE, status=before(RECREATING)),
            2,
            OLD.revision,
            DIFFERENCE,
            id="recreate: the old ones were stopped for the new ones",
        ),
        pytest.param(
            course(None, Have(2, starting=2), spec=RECREATE, status=before(RECREATING)),
            2,
            OLD.revision,
            DIFFERENCE,
            id="recreate: until a new one answers",
        ),
        pytest.param(
            course(None, Have(), spec=RECREATE, status=before(RECREATING)),
            0,
            "",
            "",
            id="recreate: unless none is wanted any more",
        ),
        pytest.param(
            course(Have(), Have(), spec=ROLLBACK, failures=failed(NEW.revision), anchored=True),
            0,
            OLD.revision,
            DIFFERENCE,
            id="a rollback is remembered at zero",
        ),
    ],
)
def test_which_revision_serves(where: Course, wanted: int, serving: str, difference: str) -> None:
    assert rollout_status(where, wanted) == RolloutStatus(
        revision=NEW.revision, serving_revision=serving, first_difference=difference
    )


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        pytest.param(course(None, Have(2, ready=2)), 2, id="one revision: what its Deployment asks for"),
        pytest.param(
            course(Have(2, ready=2), Have(1, starting=1), status=before(RolloutStatus())),
            2,
            id="two revisions: what was decided last",
        ),
        pytest.param(
            course(None, Have(), spec=RECREATE, status=before(RECREATING)),
            2,
            id="between two revisions: what was decided last",
        ),
        pytest.param(course(Have(2, ready=2), Have(1, ready=1)), 3, id="nothing remembered: all of them"),
    ],
)
def test_how_many_there_were_meant_to_be(where: Course, expected: int) -> None:
    assert where.asked == expected

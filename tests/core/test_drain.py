"""Which replicas go first when there are to be fewer."""

from __future__ import annotations

from typing import Any

import pytest

from tertium.core.drain import deletion_costs
from tertium.core.lifecycle import EnginePod
from tertium.core.plan import EngineGoal
from tests.factories import NOW, a_blueprint, a_pod, observed, seconds

PLAIN = a_blueprint().revision


def ready(name: str, **fields: Any) -> EnginePod:
    return a_pod(name, ready=NOW - seconds(9), **fields)


@pytest.mark.parametrize(
    ("pods", "replicas", "goes"),
    [
        pytest.param((ready("a"), a_pod("b")), 1, {"b"}, id="the one that is not ready"),
        pytest.param(
            (ready("a", streams=2), ready("b", streams=1), ready("c", streams=3)),
            2,
            {"b"},
            id="the one with the fewest requests",
        ),
        pytest.param(
            (
                ready("a", streams=1, created=NOW - seconds(9)),
                ready("b", streams=1, created=NOW - seconds(8)),
            ),
            1,
            {"b"},
            id="among equals the youngest",
        ),
        pytest.param(
            (ready("a"), ready("b", created=NOW)),
            1,
            {"b"},
            id="the youngest where the load is not known",
        ),
        pytest.param(
            (ready("a", streams=9), a_pod("b", terminating=True), ready("c", streams=1)),
            1,
            {"c"},
            id="one that goes already is no choice",
        ),
        pytest.param((ready("a"), ready("b"), ready("c")), 1, {"a", "b"}, id="as many as are too many"),
    ],
)
def test_the_least_useful_go(pods: tuple[EnginePod, ...], replicas: int, goes: set[str]) -> None:
    costs = deletion_costs(
        observed(replicas=len(pods), pods=pods), [EngineGoal(revision=PLAIN, replicas=replicas)]
    )
    alive = {pod.name for pod in pods if not pod.terminating}
    assert costs == {name: -1 if name in goes else 0 for name in alive}


@pytest.mark.parametrize(
    ("now", "replicas"),
    [
        pytest.param(1, 2, id="more"),
        pytest.param(2, 2, id="as many"),
        pytest.param(2, 0, id="none at all"),
    ],
)
def test_otherwise_nothing_is_priced(now: int, replicas: int) -> None:
    world = observed(replicas=now, pods=(ready("a"), ready("b")))
    assert deletion_costs(world, [EngineGoal(revision=PLAIN, replicas=replicas)]) == {}

"""Which replicas go first when a revision is scaled down: the least useful ones. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tertium.core.lifecycle import EnginePod
from tertium.core.observed import Observed
from tertium.core.plan import EngineGoal

EXPENDABLE = -1
"""Deletion cost of a replica that is to go; the others cost what Kubernetes assumes, 0."""


def deletion_costs(observed: Observed, goals: Sequence[EngineGoal]) -> Mapping[str, int]:
    """Return the deletion cost of every pod among which Kubernetes is about to choose.

    | the revision is scaled  | result                                            |
    | up, or not at all       | none: a cost is written only when it is needed    |
    | to 0                    | none: there is nothing to choose                  |
    | from m to n > 0         | -1 for the m - n least useful pods, 0 for the rest |
    """
    now = {engine.revision: engine.replicas for engine in observed.engines}
    costs: dict[str, int] = {}
    for goal in goals:
        if not 0 < goal.replicas < now.get(goal.revision, 0):
            continue
        pods = [pod for pod in observed.pods if pod.revision == goal.revision and not pod.terminating]
        ranked = sorted(pods, key=_usefulness)
        expendable = len(ranked) - goal.replicas
        costs |= {pod.name: EXPENDABLE if rank < expendable else 0 for rank, pod in enumerate(ranked)}
    return costs


def _usefulness(pod: EnginePod) -> tuple[bool, int, float, str]:
    """Rank: not ready, then fewest requests, then youngest. A replica of unknown load counts as idle."""
    return (pod.ready is not None, pod.streams or 0, -pod.created.timestamp(), pod.name)

"""GPU time: what each look at the pods adds, and that nothing is counted twice or lost."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tertium.api.v1alpha1 import OpenReplica, Usage
from tertium.core.ledger import account
from tertium.core.lifecycle import EnginePod
from tests.factories import NOW, a_pod, at, seconds

STARTING = a_pod("a", gpus=2, scheduled=NOW - seconds(30))
SERVING = a_pod("a", gpus=2, scheduled=NOW - seconds(30), ready=NOW - seconds(10))
OPEN = OpenReplica(pod="a", gpus=2, started_at=at(-30))
SERVED = OpenReplica(pod="a", gpus=2, started_at=at(-30), serving_since=at(-10))


@pytest.mark.parametrize(
    ("before", "pods", "after"),
    [
        pytest.param(Usage(), (), Usage(), id="nothing costs nothing"),
        pytest.param(
            Usage(), (a_pod("a", scheduled=None),), Usage(), id="a pod without a node costs nothing"
        ),
        pytest.param(Usage(), (STARTING,), Usage(open=(OPEN,)), id="a pod with a node is listed"),
        pytest.param(
            Usage(open=(OPEN,)),
            (STARTING,),
            Usage(open=(OPEN,)),
            id="time alone changes nothing that is written",
        ),
        pytest.param(Usage(open=(OPEN,)), (SERVING,), Usage(open=(SERVED,)), id="becoming ready is noted"),
        pytest.param(
            Usage(open=(SERVED,)),
            (a_pod("a", gpus=2, scheduled=NOW - seconds(30), ready=NOW - seconds(1)),),
            Usage(open=(SERVED,)),
            id="one that answers again has served since the first time",
        ),
        pytest.param(
            Usage(open=(SERVED,)),
            (a_pod("a", gpus=2, terminating=True),),
            Usage(open=(SERVED,)),
            id="a pod on its way out still holds its GPUs",
        ),
        pytest.param(
            Usage(serving_gpu_seconds=5, open=(SERVED,)),
            (),
            Usage(serving_gpu_seconds=25, starting_gpu_seconds=40),
            id="a pod that is gone goes to the sums",
        ),
        pytest.param(
            Usage(open=(OPEN,)), (), Usage(starting_gpu_seconds=60), id="one that never answered only started"
        ),
        pytest.param(
            Usage(open=(SERVED,)),
            (a_pod("a", gpus=2, ended=NOW - seconds(4)),),
            Usage(serving_gpu_seconds=12, starting_gpu_seconds=40),
            id="an evicted one is counted to its end",
        ),
        pytest.param(
            Usage(open=(SERVED,)),
            (a_pod("a", gpus=2, terminating=True, lost=True),),
            Usage(serving_gpu_seconds=20, starting_gpu_seconds=40),
            id="one whose node is lost is over, though its pod stays",
        ),
        pytest.param(
            Usage(serving_gpu_seconds=20),
            (a_pod("a", gpus=2, terminating=True, lost=True),),
            Usage(serving_gpu_seconds=20),
            id="it is not counted again",
        ),
        pytest.param(
            Usage(serving_gpu_seconds=12),
            (a_pod("a", gpus=2, ended=NOW - seconds(4)),),
            Usage(serving_gpu_seconds=12),
            id="its record is not counted again",
        ),
        pytest.param(
            Usage(),
            (SERVING,),
            Usage(open=(SERVED,)),
            id="one that became ready while nobody looked is listed with both times",
        ),
    ],
)
def test_one_look(before: Usage, pods: tuple[EnginePod, ...], after: Usage) -> None:
    assert account(before, pods, NOW) == after


def test_more_replicas_than_the_list_holds_wait_for_their_place() -> None:
    pods = [a_pod(f"pod-{number:04}", scheduled=NOW - seconds(number)) for number in range(1001)]
    usage = account(Usage(), pods, NOW)
    assert len(usage.open) == 1000
    assert "pod-0000" not in {replica.pod for replica in usage.open}
    known = usage.open[0].pod
    rest = [pod for pod in pods if pod.name != known]
    assert {replica.pod for replica in account(usage, rest, NOW).open} == {pod.name for pod in rest}


LIVES = st.lists(
    st.tuples(st.integers(1, 8), st.integers(0, 50), st.integers(0, 50), st.integers(0, 50)), max_size=6
)


@settings(max_examples=40)
@given(lives=LIVES, looks=st.lists(st.integers(0, 200), max_size=30), twice=st.booleans())
def test_the_sums_are_each_life_counted_once(
    lives: list[tuple[int, int, int, int]], looks: list[int], twice: bool
) -> None:
    """However often the operator looks, as long as it sees every pod come, answer and go."""
    moments = set(looks) | {200}
    for _, begun, starting, serving in lives:
        moments |= {begun, begun + starting, begun + starting + serving}
    usage = Usage()
    for moment in sorted(moments):
        now = NOW + timedelta(seconds=moment)
        pods = [
            a_pod(
                f"pod-{number}",
                gpus=gpus,
                scheduled=NOW + seconds(begun),
                ready=NOW + seconds(begun + starting) if moment >= begun + starting else None,
            )
            for number, (gpus, begun, starting, serving) in enumerate(lives)
            if begun <= moment < begun + starting + serving
        ]
        for _ in range(1 + twice):
            usage = account(usage, pods, now)
    assert usage == Usage(
        serving_gpu_seconds=sum(gpus * serving for gpus, _, _, serving in lives),
        starting_gpu_seconds=sum(gpus * starting for gpus, _, starting, _ in lives),
    )

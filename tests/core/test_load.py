"""The load of one deployment from the reports of all gateway pods."""

from __future__ import annotations

import pytest

from tertium.api.load import LoadReport, ModelLoad
from tertium.core.load import Load, Received, Reports, load_of
from tests.factories import KEY, NOW, seconds


def report(
    in_flight: int = 0, finished: float | None = None, *, age: float = 1, knows: bool = True
) -> Received:
    load = ModelLoad(
        in_flight=in_flight, held=0, last_finished=None if finished is None else NOW - seconds(finished)
    )
    models = {str(KEY): load} if knows else {}
    return Received(report=LoadReport(since=NOW - seconds(500), models=models), at=NOW - seconds(age))


SILENT = Received(report=None, at=NOW)
ENDING = Received(report=report(2).report, at=NOW, required=False)
ENDING_SILENT = Received(report=None, at=NOW, required=False)


@pytest.mark.parametrize(
    ("received", "expected", "load"),
    [
        pytest.param([], 2, None, id="no report is unknown"),
        pytest.param([report()], 2, None, id="fewer pods than there must be is unknown"),
        pytest.param([report(), SILENT], 2, None, id="a pod that does not answer makes it unknown"),
        pytest.param([report(), report(age=6)], 2, None, id="a stale report makes it unknown"),
        pytest.param([report(), report(knows=False)], 2, None, id="a pod that does not know the model yet"),
        pytest.param([report(), report(), SILENT], 2, None, id="a new pod beside enough others counts too"),
        pytest.param([], 0, None, id="a gateway of no pods knows nothing"),
        pytest.param(
            [report(3), report(1, finished=7)],
            2,
            Load(in_flight=4, quiet_since=NOW - seconds(7)),
            id="requests of all pods are added",
        ),
        pytest.param(
            [report(finished=9), report(finished=4)],
            2,
            Load(in_flight=0, quiet_since=NOW - seconds(4)),
            id="the latest end of a request counts",
        ),
        pytest.param(
            [report(), report()],
            2,
            Load(in_flight=0, quiet_since=NOW - seconds(500)),
            id="without any request it is quiet since counting began",
        ),
        pytest.param(
            [report(), report(), ENDING],
            2,
            Load(in_flight=2, quiet_since=NOW - seconds(500)),
            id="requests of a terminating pod still count",
        ),
        pytest.param(
            [report(), report(), ENDING_SILENT],
            2,
            Load(in_flight=0, quiet_since=NOW - seconds(500)),
            id="a terminating pod need not answer",
        ),
    ],
)
def test_load(received: list[Received], expected: int, load: Load | None) -> None:
    reports = Reports(by_pod={str(index): item for index, item in enumerate(received)}, expected=expected)
    assert load_of(KEY, reports, NOW, fresh_seconds=5) == load


def test_the_streams_of_a_replica_are_added_over_all_gateway_pods() -> None:
    loads = [
        ModelLoad(in_flight=3, held=0, streams={"10.0.0.1": 2, "10.0.0.2": 1}),
        ModelLoad(in_flight=1, held=0, streams={"10.0.0.1": 1}),
    ]
    received = {
        str(index): Received(report=LoadReport(since=NOW, models={str(KEY): load}), at=NOW)
        for index, load in enumerate(loads)
    }
    load = load_of(KEY, Reports(by_pod=received, expected=2), NOW, fresh_seconds=5)
    assert load is not None
    assert load.streams == {"10.0.0.1": 3, "10.0.0.2": 1}


def test_before_the_first_round_it_is_unknown() -> None:
    assert load_of(KEY, None, NOW, fresh_seconds=5) is None

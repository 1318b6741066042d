"""The load of one deployment from the reports of all gateway pods."""

from __future__ import annotations

import pytest

from tertium.api.load import LoadReport, ModelLoad, ReplicaLoad
from tertium.core.load import LOST_SECONDS, Load, Received, Reports, load_of
from tests.factories import KEY, NOW, seconds


def report(
    in_flight: int = 0, finished: float | None = None, *, age: float = 1, knows: bool = True
) -> Received:
    load = ModelLoad(
        in_flight=in_flight, held=0, last_finished=None if finished is None else NOW - seconds(finished)
    )
    models = {str(KEY): load} if knows else {}
    return Received(report=LoadReport(since=NOW - seconds(500), models=models), at=NOW - seconds(age))


ONE, TWO = ReplicaLoad(active=1, finished=9), ReplicaLoad(active=2)
SILENT = Received(report=None, at=NOW)
ENDING = Received(report=report(2).report, at=NOW, required=False, until=NOW + seconds(60))
ENDING_SILENT = Received(report=None, at=NOW, required=False, until=NOW + seconds(60))
KILLED = Received(report=None, at=NOW, required=False, until=NOW - seconds(8))
PENDING = Received(report=None, at=NOW, required=False)


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
            None,
            id="a terminating pod that does not answer may still have streams",
        ),
        pytest.param(
            [report(), report(), KILLED],
            2,
            Load(in_flight=0, quiet_since=NOW - seconds(8)),
            id="after its time it is lost, and quiet begins no earlier",
        ),
        pytest.param(
            [report(), report(), PENDING],
            2,
            Load(in_flight=0, quiet_since=NOW - seconds(500)),
            id="a pod that does not run yet has no requests",
        ),
    ],
)
def test_load(received: list[Received], expected: int, load: Load | None) -> None:
    reports = Reports(by_pod={str(index): item for index, item in enumerate(received)}, expected=expected)
    assert load_of(KEY, reports, NOW, fresh_seconds=5) == load


def test_the_streams_of_a_replica_are_added_over_all_gateway_pods() -> None:
    loads = [
        ModelLoad(in_flight=3, held=0, replicas={"10.0.0.1": TWO, "10.0.0.2": ONE}),
        ModelLoad(in_flight=1, held=0, replicas={"10.0.0.1": ONE}),
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


@pytest.mark.parametrize(
    ("received", "short_for", "load"),
    [
        pytest.param([report(finished=100)], None, None, id="just missed"),
        pytest.param([report(finished=100)], LOST_SECONDS - 1, None, id="it may only be cut off"),
        pytest.param(
            [report(finished=100)],
            LOST_SECONDS,
            Load(in_flight=0, quiet_since=NOW - seconds(100)),
            id="gone for good: it does not keep GPUs for ever",
        ),
        pytest.param([], LOST_SECONDS, None, id="nobody is left to say anything"),
        pytest.param([PENDING], LOST_SECONDS, None, id="one that does not run says nothing"),
        pytest.param([report(), SILENT], LOST_SECONDS, None, id="one that is there must answer"),
    ],
)
def test_a_pod_that_is_missing(received: list[Received], short_for: float | None, load: Load | None) -> None:
    reports = Reports(
        by_pod={str(index): item for index, item in enumerate(received)},
        expected=3,
        short_since=None if short_for is None else NOW - seconds(short_for),
    )
    assert load_of(KEY, reports, NOW, fresh_seconds=5) == load


@pytest.mark.parametrize(
    ("lost", "quiet_for"),
    [
        pytest.param(report(2, finished=50, age=20), 20, id="its requests ended when it was last seen"),
        pytest.param(report(0, finished=30, age=20), 30, id="nothing ran: what it had finished counts"),
        pytest.param(report(0, finished=90, age=20), 70, id="others were busy later"),
        pytest.param(report(0, age=20), 70, id="it never had any"),
        pytest.param(report(5, age=20, knows=False), 70, id="it did not know the deployment"),
    ],
)
def test_requests_of_a_process_that_is_gone_are_lost_not_finished(lost: Received, quiet_for: float) -> None:
    reports = Reports(by_pod={"a": report(finished=70)}, expected=1, ended=(("b", lost),))
    load = load_of(KEY, reports, NOW, fresh_seconds=5)
    assert load == Load(in_flight=0, quiet_since=NOW - seconds(quiet_for))

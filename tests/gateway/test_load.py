"""When a deployment was last busy, as far as two looks at Envoy's counters can tell."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tertium.api.meta import ObjectKey
from tertium.gateway.envoy_admin import Requests
from tertium.gateway.load import LoadBook

KEY = ObjectKey("team", "m")
START = datetime(2025, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("looks", "busy_at"),
    [
        pytest.param([(0, 0, 0), (0, 0, 0)], None, id="never busy"),
        pytest.param(
            [(0, 7, 0), (0, 7, 0)], 0, id="what was counted before the first look may have ended just now"
        ),
        pytest.param([(0, 0, 0), (1, 1, 0)], 1, id="a request that runs is now"),
        pytest.param([(1, 1, 0), (0, 1, 0), (0, 1, 0)], 1, id="one that ended since the last look is now"),
        pytest.param([(0, 1, 0), (0, 2, 0), (0, 2, 0)], 1, id="one that came and went between two looks"),
        pytest.param([(0, 0, 0), (0, 0, 3), (0, 0, 0)], 1, id="a held request is now"),
        pytest.param([(0, 9, 0), (0, 0, 0), (0, 0, 0)], 1, id="a restarted Envoy counts as busy, to be safe"),
    ],
)
def test_last_finished(looks: list[tuple[int, int, int]], busy_at: int | None) -> None:
    book = LoadBook(START)
    for second, (active, total, held) in enumerate(looks):
        requests = {str(KEY): Requests(active=active, total=total)}
        waiting = {KEY: held}
        report = book.report([KEY], requests, waiting.__getitem__, START + timedelta(seconds=second))
    expected = None if busy_at is None else START + timedelta(seconds=busy_at)
    assert report.models[str(KEY)].last_finished == expected


def test_a_deployment_that_envoy_does_not_know_yet_is_reported_and_a_gone_one_forgotten() -> None:
    book = LoadBook(START)
    report = book.report([KEY], {}, lambda key: 2, START)
    assert report.models[str(KEY)].model_dump() == {
        "in_flight": 2,
        "held": 2,
        "streams": {},
        "last_finished": START,
    }
    assert book.report([], {}, lambda key: 0, START).models == {}
    assert book.report([KEY], {}, lambda key: 0, START).models[str(KEY)].last_finished is None

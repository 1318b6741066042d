"""When a deployment was last busy, as far as two looks at Envoy's counters can tell."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tertium.api.load import ModelLoad
from tertium.api.meta import ObjectKey
from tertium.gateway.counters import Calls, Counters, Meter, Requests, Tokens, read_requests
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
        counters = Counters(requests={str(KEY): Requests(active=active, total=total)})
        waiting = {KEY: held}
        moment = START + timedelta(seconds=second)
        report = book.report({KEY: "u"}, counters, waiting.__getitem__, moment, epoch="e")
    expected = None if busy_at is None else START + timedelta(seconds=busy_at)
    assert report.models[str(KEY)].last_finished == expected


def test_a_deployment_that_envoy_does_not_know_yet_is_reported_and_a_gone_one_forgotten() -> None:
    book = LoadBook(START)
    report = book.report({KEY: "u"}, Counters(), lambda key: 2, START, epoch="e")
    assert report.epoch == "e"
    assert report.models[str(KEY)] == ModelLoad(uid="u", in_flight=2, held=2, last_finished=START)
    assert book.report({}, Counters(), lambda key: 0, START, epoch="e").models == {}
    again = book.report({KEY: "u"}, Counters(), lambda key: 0, START, epoch="e")
    assert again.models[str(KEY)].last_finished is None


def test_tokens_of_all_keys_are_added_and_those_of_another_life_are_not() -> None:
    counters = Counters(
        tokens={
            Meter("team/m", "u", "one"): Tokens(2, 1, 20, 5),
            Meter("team/m", "u", ""): Tokens(1, 0, 7, 2),
            Meter("team/m", "earlier", "one"): Tokens(9, 9, 9, 9),
            Meter("team/other", "u", "one"): Tokens(9, 9, 9, 9),
        }
    )
    report = LoadBook(START).report({KEY: "u"}, counters, lambda key: 0, START, epoch="e")
    model = report.models[str(KEY)]
    assert (model.requests, model.unmetered_requests) == (4, 1)
    assert (model.prompt_tokens, model.completion_tokens) == (27, 7)


@pytest.mark.parametrize(
    ("stats", "requests"),
    [
        pytest.param(
            {
                "cluster.team/m.upstream_rq_active": 2,
                "cluster.team/m.upstream_rq_total": 9,
                "cluster.team/m.endpoint.10.0.0.1_8000.rq_active": 2,
                "cluster.team/m.endpoint.10.0.0.1_8000.rq_total": 8,
                "cluster.team/m.endpoint.127.0.0.1_9109.rq_active": 1,
            },
            {"team/m": Requests(active=2, total=9, by_address={"10.0.0.1": Calls(active=2, finished=6)})},
            id="requests by replica; the activator is none",
        ),
        pytest.param(
            {
                "cluster.team/m.endpoint.[fd00__1]_8000.rq_active": 1,
                "cluster.team/m.upstream_rq_active": 1,
            },
            {"team/m": Requests(active=1, by_address={"fd00::1": Calls(active=1)})},
            id="an IPv6 address",
        ),
        pytest.param({"server.uptime": 3, "cluster.m.version_text": "a"}, {}, id="anything else"),
    ],
)
def test_envoys_stats_are_read(stats: dict[str, int | str], requests: dict[str, Requests]) -> None:
    assert read_requests(stats) == requests

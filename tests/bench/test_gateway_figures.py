"""How turns of load become a table, and changes of Deployments a count of wakes."""

from __future__ import annotations

import os
from collections import Counter

import pytest

from e2e.bench import gateway
from e2e.bench.gateway import BASE, DIRECT, OURS, Turn, bystander, figures, markdown
from e2e.bench.load import Load
from e2e.bench.storm import starts
from e2e.bench.usage import cpu_seconds, family, forget_peak, peak_mib, rss_mib


def a_turn(requests: int, *, millis: float = 1.0, envoy: float = 0.0, seconds: float = 2.7) -> Turn:
    times = {"p50": millis, "p99": 2 * millis}
    load = Load(requests=requests, errors={}, seconds=seconds, first=times, last=times, by_target={})
    return Turn(load=load, cpu={"envoy": envoy, "activator": 0.0}, rss_mib={"envoy": 70.4})


SEEN = {
    DIRECT: {kind: [a_turn(4000, millis=2.0), a_turn(2000, millis=3.0)] for kind in gateway.KINDS},
    BASE: {kind: [a_turn(2000), a_turn(1000)] for kind in gateway.KINDS},
    OURS: {kind: [a_turn(1900, millis=3.0, envoy=1.0), a_turn(970, millis=5.0)] for kind in gateway.KINDS},
}


def test_ratios_and_added_times_are_those_of_the_same_turn() -> None:
    row = figures(OURS, SEEN)
    for kind in gateway.FULL_LOADS:
        assert row[f"{kind}_ratio"] == 0.96
        assert (row[f"{kind}_ratio_lower_quartile"], row[f"{kind}_ratio_upper_quartile"]) == (0.945, 0.975)
    assert (row["added_p50_ms"], row["added_p99_ms"]) == (1.5, 3.0)


def test_the_warm_ups_share_of_processor_time_is_taken_off() -> None:
    assert a_turn(750, envoy=1.0, seconds=1.5).cpu_micros == pytest.approx(1000)


def test_the_table_says_what_the_activator_did_meanwhile() -> None:
    text = markdown([figures(OURS, SEEN)], bystander(SEEN))
    assert "| Tertium's gateway |" + " 531 | 0.96 (0.945 to 0.975) |" * 3 + " 1.5 | 3.0 |" in text
    assert text.endswith(
        "Activator: 0.0 CPU s in 25.6 s, in which Envoy carried 11480 warm requests and took 4.0 CPU s."
    )


@pytest.mark.parametrize(
    ("lines", "want"),
    [
        pytest.param(["ADDED a 0", "MODIFIED a 1"], {"a": 1}, id="up from none is a start"),
        pytest.param(
            ["ADDED a 0", "MODIFIED a 1", "MODIFIED a 1"], {"a": 1}, id="a change of status is none"
        ),
        pytest.param(["ADDED a 1", "MODIFIED a 2"], {}, id="one more replica is none"),
        pytest.param(
            ["ADDED a 0", "ADDED b 0", "MODIFIED a 1", "MODIFIED b 1", "MODIFIED a 0", "MODIFIED a 1"],
            {"a": 2, "b": 1},
            id="each model is counted for itself, each time",
        ),
        pytest.param(["ADDED a 1"], {}, id="what was there first is none"),
    ],
)
def test_a_start_is_replicas_that_go_up_from_none(lines: list[str], want: dict[str, int]) -> None:
    assert starts([line.split() for line in lines]) == Counter(want)


def test_what_this_process_costs_is_read_from_proc() -> None:
    mine = [os.getpid()]
    assert family(os.getpid())[0] == os.getpid()
    assert cpu_seconds(mine) == pytest.approx(sum(os.times()[:2]), abs=0.5)
    forget_peak(mine)
    assert 0 < rss_mib(mine) <= peak_mib(mine) + 1


def test_a_process_that_has_gone_costs_nothing() -> None:
    gone = [2**22 + 1]
    assert (cpu_seconds(gone), rss_mib(gone)) == (0, 0)

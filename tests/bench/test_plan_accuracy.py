"""The scored report of the planner: peers' formulas, what counts as missed, and the tables."""

from __future__ import annotations

from typing import Any

import pytest

from e2e.bench import plan_accuracy, plan_holdout, plan_peers, plan_speed
from e2e.bench.plan_accuracy import Report, Score
from e2e.bench.plan_rows import Start, parse_start
from tests.cli.plans import row


def a_start(
    *, loads: bool = True, kv: float | None = None, divisibility: bool = False, **changes: Any
) -> Start:
    seen = {
        "model": "qwen",
        "loads": loads,
        "kv": kv,
        "divisibility": divisibility,
        "error": "" if loads else "OOM",
    }
    return parse_start({**row(**{"tensorParallelSize": 1, **changes}), "_expect": seen})


# 14.2 GiB of weights on 22 GiB; the 28 heads keep 57,344 bytes a token.
@pytest.mark.parametrize(
    ("peer", "changes", "accepted"),
    [
        pytest.param("NVIDIA Dynamo", {"gpuMemoryMiB": 16_384}, True, id="weights in nine tenths are enough"),
        pytest.param("NVIDIA Dynamo", {"gpuMemoryMiB": 16_000}, False, id="weights in less are not"),
        pytest.param("aiconfigurator (naive)", {}, True, id="one and a half times the weights"),
        pytest.param("aiconfigurator (naive)", {"gpuMemoryMiB": 21_000}, False, id="less than that"),
        pytest.param("GPUStack", {"gpuMemoryMiB": 21_700}, True, id="a fifth more and two GiB"),
        pytest.param("GPUStack", {"gpuMemoryMiB": 21_500}, False, id="a fifth more and less than two GiB"),
        pytest.param("GPUStack", {"tensorParallelSize": 3}, False, id="heads that do not divide"),
        pytest.param(
            "KAITO", {"gpuMemoryMiB": 21_600, "gpusPerNode": 8}, True, id="cache over all GPUs of a node"
        ),
        pytest.param("KAITO", {"gpuMemoryMiB": 21_600, "gpusPerNode": 1}, False, id="cache of one GPU"),
        pytest.param("llm-d planner", {"gpuMemoryUtilization": 0.92}, True, id="anything left for the cache"),
        pytest.param("llm-d planner", {"gpuMemoryUtilization": 0.85}, False, id="nothing left for the cache"),
        pytest.param("hf-mem", {"gpuMemoryMiB": 15_000}, True, id="weights and cache without a share"),
        pytest.param("hf-mem", {"gpuMemoryMiB": 14_900}, False, id="not even those"),
        pytest.param("vllm-wizard", {}, True, id="a GiB to spare"),
        pytest.param("vllm-wizard", {"gpuMemoryMiB": 18_000}, False, id="less than a GiB to spare"),
        pytest.param("vLLM recipes", {"gpuMemoryMiB": 17_500}, True, id="1.2 times the weights"),
        pytest.param("vLLM recipes", {"gpuMemoryMiB": 17_400}, False, id="less than 1.2 times the weights"),
    ],
)
def test_a_peer_s_formula(peer: str, changes: dict[str, Any], accepted: bool) -> None:
    assert plan_peers.PEERS[peer](a_start(**changes)) is accepted


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> Report:
    speed = plan_speed.Speed(model="dense", tensors=1001, plan_millis=25.0, stored_millis=2.0)
    monkeypatch.setattr(plan_speed, "measure", lambda: [speed])
    monkeypatch.setattr(plan_speed, "imported_packages", lambda: ["torch"])
    starts = [
        a_start(kv=5.0, vllmVersion="0.32.0"),
        a_start(gpuMemoryMiB=16_000),
        a_start(loads=False),
        a_start(loads=False, vllmVersion="0.8.5"),
        a_start(loads=False, gpuMemoryMiB=16_000),
        a_start(loads=False, divisibility=True, tensorParallelSize=3),
        a_start(loads=True, divisibility=True, tensorParallelSize=5),
    ]
    held = [plan_holdout.Held(model="qwen", logs=2, shipped=0.1, held_out=-0.2)]
    monkeypatch.setattr(plan_holdout, "hold_out", lambda _: held)
    return plan_accuracy.report(starts, [])


def test_rows_are_counted_by_what_was_said_and_seen(report: Report) -> None:
    assert report.scores[0] == Score(
        name="**Tertium**", loads_accepted=1, fails_accepted=2, loads_rejected=1, fails_rejected=1
    )
    assert report.recent_scores[0].fails_accepted == 1
    assert [score.name for score in report.scores[1:]] == list(plan_peers.PEERS)


def test_every_bar_that_is_missed_is_named(report: Report) -> None:
    missed = report.missed()
    assert missed[:3] == [
        "1 accepted rows fail",
        "1 of 2 loading rows are rejected",
        "1 divisibility rows are wrong",
    ]
    assert missed[-2:] == ["a plan imports torch", "dense: 25 ms"]


def test_the_report_shows_rows_that_are_wrong_in_words(report: Report) -> None:
    text = plan_accuracy.markdown(report)
    assert "| **Tertium** | 1 | 2 | 1 | 1 |" in text
    assert (
        "- accepted, yet it fails: qwen, TP1 on NVIDIA-L4, 8,192 tokens, vLLM unknown: Fits (headroom" in text
    )
    assert "; seen: OOM\n" in text
    assert "Divisibility: 1 of 2 rows right." in text
    assert "| qwen | 2 | +0.10 GiB | -0.20 GiB |" in text
    assert plan_accuracy.as_data(report)["missed"] == report.missed()


def seen(**changes: Any) -> plan_holdout.Seen:
    start = a_start(vllmVersion="0.19.0", **changes)
    constants = plan_holdout.shipped()
    entry = plan_holdout.Seen(start=start, activation=0, non_torch=0)
    activation, non_torch = plan_holdout.predicted(constants, entry)
    return plan_holdout.Seen(start=start, activation=activation, non_torch=non_torch)


def test_a_fit_finds_the_constants_that_made_the_logs() -> None:
    logs = [seen(gpu="H100", maxNumSeqs=n, tensorParallelSize=t) for n in (256, 512, 1024) for t in (1, 2)]
    found = plan_holdout.fit(logs)
    wanted = plan_holdout.shipped()
    assert found.copies_tenths == wanted.copies_tenths
    assert found.fixed == pytest.approx(wanted.fixed, abs=1)
    assert (found.alone, found.fast_link) == pytest.approx((wanted.alone, wanted.fast_link))


def test_a_model_left_out_is_predicted_from_the_others_alone() -> None:
    others = [seen(gpu="H100", maxNumSeqs=n) for n in (256, 512, 1024)]
    odd = seen(gpu="H100")
    odd = plan_holdout.Seen(start=odd.start, activation=odd.activation + 1, non_torch=odd.non_torch)
    for entry in others:
        object.__setattr__(entry.start, "model", "other")
    held = {entry.model: entry for entry in plan_holdout.hold_out([*others, odd])}
    assert held["qwen"].held_out == pytest.approx(-1, abs=0.02)
    assert abs(held["other"].shipped) < 0.01

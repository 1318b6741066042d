"""Starts that were seen and published: what the planner says of them must not end in a crash loop."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest

from e2e.bench.plan_rows import Start, parse_start
from e2e.oracle import models

# Loading rows that may be rejected, and why that is right as far as a row can tell.
REJECTED = {
    # 0.6 GiB are left, about the margin; and the table this is from contradicts itself by 4 GiB.
    "openai/gpt-oss-120b, TP1 on H100-80GB, 16,000 tokens, vLLM unknown",
    # 1.3 GiB short on releases whose sampler sorts, and the row names no release.
    "MiniMaxAI/MiniMax-M2, TP4 on H100-80GB, 196,608 tokens, vLLM unknown",
}


def read() -> list[Start]:
    configs = models.load()
    lines = Path(__file__).with_name("outcomes.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [parse_start({**row, "config": configs[row["config"]]}) for row in rows]


STARTS = read()


def some(*, loads: bool, divisibility: bool = False) -> list[object]:
    chosen = [s for s in STARTS if s.loads is loads and s.is_divisibility is divisibility and s.is_recent]
    return [pytest.param(start, id=start.label()) for start in chosen]


@pytest.mark.parametrize("start", some(loads=False))
def test_a_start_that_fails_is_refused(start: Start) -> None:
    verdict = start.verdict()
    assert not verdict.fits, f"{verdict.text}, yet: {start.error}"


@pytest.mark.parametrize("start", some(loads=True))
def test_a_start_that_works_is_accepted(start: Start) -> None:
    verdict = start.verdict()
    assert verdict.fits or start.label() in REJECTED, verdict.text


@pytest.mark.parametrize("start", some(loads=False, divisibility=True))
def test_a_split_that_the_engine_refuses_is_invalid(start: Start) -> None:
    assert not start.verdict().valid, start.error


def test_what_is_left_for_the_cache_is_what_the_engine_logged() -> None:
    logged = [s for s in STARTS if s.is_recent and s.row.vllm_version and s.available_kv_gib is not None]
    errors = [start.verdict().available_kv / 1024 - float(start.available_kv_gib or 0) for start in logged]
    assert len(errors) >= 14
    assert statistics.mean(map(abs, errors)) <= 0.3
    assert max(map(abs, errors)) <= 1.0

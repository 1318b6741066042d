"""The table of `tertium plan`: bars, colour, and everything a person wants to see."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from tertium.cli import main
from tertium.cli.plan_table import bar, wants_colour
from tertium.core.planner import Memory
from tests.cli.plans import QWEN_7B_BYTES, write_config


class Terminal(io.StringIO):
    """A stream that people look at."""

    def isatty(self) -> bool:
        return True


def memory(weights: int, kv_cache: int, activation: int = 0, engine: int = 0, budget: int = 3200) -> Memory:
    return Memory(
        total=4000,
        budget=budget,
        weights=weights,
        activation=activation,
        non_torch=engine,
        cuda_graph=0,
        kv_cache=kv_cache,
        margin=0,
    )


@pytest.mark.parametrize(
    ("held", "drawn"),
    [
        pytest.param(memory(1600, 800), "█" * 16 + "▓" * 8 + "·" * 8, id="what is free is dotted"),
        pytest.param(memory(1600, 800, 400, 400), "█" * 16 + "▓" * 8 + "▒" * 4 + "░" * 4, id="a full budget"),
        pytest.param(memory(1, 0), "█" + "·" * 31, id="a part that is there is seen"),
        pytest.param(memory(3200, 400), "█" * 32 + "▓" * 4, id="more than the budget goes past its end"),
        pytest.param(memory(64_000, 400), "█" * 47 + "»", id="much more than the budget is cut"),
        pytest.param(memory(100, 0, budget=0), "█" * 47 + "»", id="a budget of nothing"),
    ],
)
def test_a_bar_shows_the_parts_against_the_budget(held: Memory, drawn: str) -> None:
    assert bar(held) == drawn


@pytest.mark.parametrize(
    ("stream", "environment", "expected"),
    [
        pytest.param(Terminal(), {"TERM": "xterm"}, True, id="a terminal"),
        pytest.param(io.StringIO(), {"TERM": "xterm"}, False, id="a pipe"),
        pytest.param(Terminal(), {"TERM": "xterm", "NO_COLOR": "1"}, False, id="a person who wants none"),
        pytest.param(Terminal(), {"TERM": "dumb"}, False, id="a terminal that cannot"),
    ],
)
def test_colour_is_for_terminals(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, environment: dict[str, str], expected: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert wants_colour(stream) is expected


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    model = str(write_config(tmp_path / "qwen"))
    return ["plan", model, "--weight-bytes", str(QWEN_7B_BYTES), "--gpu", "NVIDIA-T4", "--gpu", "NVIDIA-L4"]


def test_every_candidate_has_a_line_and_the_plan_is_marked(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert re.search(
        r"qwen: Qwen2ForCausalLM, 28 layers, 14\.2 GiB of weights; 8,192 tokens x 64 sequences", lines[0]
    )
    assert re.match(r"  NVIDIA-T4   1 x 1   █+\|█*▓*[▒░▓]* .* GiB  DoesNotFit: ", lines[3])
    assert re.match(r"  NVIDIA-T4   2 x 1   █+.*·\| .* GiB  Fits \(headroom ", lines[4])
    assert re.match(r"→ NVIDIA-L4   1 x 1   █+.*·\| .* GiB  Fits \(headroom ", lines[5])
    assert len({line.index("GiB") for line in lines[3:6]}) == 1
    assert re.search(r"^GPUs per replica +1 \(tensor 1 x pipeline 1\)$", out, re.MULTILINE)
    assert re.search(r"^flags +--tensor-parallel-size=1 ", out, re.MULTILINE)
    assert "\x1b" not in out


def test_a_size_the_engine_refuses_is_listed_with_its_reason(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words[:4], "--gpu", "Tiny:4000", "--gpus-per-node", "3"]) == 3
    assert "  Tiny   3 x 1   Invalid: 28 attention heads do not divide by 3\n" in capsys.readouterr().out


def test_a_refusal_ends_with_what_works(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words[:4], "--gpu", "Tiny:4000", "--gpus-per-node", "1"]) == 3
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("DoesNotFit: Tiny (")
    assert "What works: " in last


def test_on_a_terminal_the_parts_are_coloured(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain_code = main(words)
    plain = capsys.readouterr().out
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert main(words) == plain_code
    coloured = terminal.getvalue()
    assert re.search("\x1b\\[34m█+\x1b\\[0m\x1b\\[32m▓+\x1b\\[0m", coloured)
    assert re.sub("\x1b\\[[0-9]*m", "", coloured) == plain

"""The planner beside the pinned vLLM itself: what is stored of its answers is still what it says."""

from __future__ import annotations

import pytest

from e2e.oracle import answers, models
from e2e.oracle.ask import ask, options, parse, questions
from e2e.oracle.flags import FLAGS, OPTIONS

pytestmark = pytest.mark.e2e

# One model of every kind of layer; all of them take a quarter of an hour: `python -m e2e.oracle record`.
ASKED = (
    "Qwen/Qwen2.5-7B-Instruct",
    "Qwen/Qwen3-30B-A3B-FP8",
    "Qwen/Qwen3.5-27B",
    "deepseek-ai/DeepSeek-V3.2",
    "google/gemma-3-12b-it",
    "meta-llama/Llama-4-Scout-17B-16E-Instruct",
    "microsoft/phi-4",
    "moonshotai/Kimi-Linear-48B-A3B-Instruct",
    "nvidia/NVIDIA-Nemotron-Nano-9B-v2",
    "openai/gpt-oss-120b",
)


@pytest.fixture(scope="module")
def asked() -> dict[str, object]:
    configs = models.load()
    return {a.pop("id"): answers.digest(a) for a in ask(questions({name: configs[name] for name in ASKED}))}


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", ASKED)
def test_the_stored_answer_is_vllm_s(name: str, asked: dict[str, object]) -> None:
    assert asked[name] == answers.load()[name]


@pytest.mark.timeout(600)
def test_the_stored_options_are_vllm_s() -> None:
    assert options() == OPTIONS


@pytest.mark.timeout(600)
def test_every_flag_is_read_as_it_is_meant() -> None:
    read = parse([["model", *flags] for flags in FLAGS.values()])
    for (meaning, flags), values in zip(FLAGS.items(), read, strict=True):
        assert "refused" not in values, (meaning, values)
        for flag in flags:
            name, _, value = flag.removeprefix("--").partition("=")
            assert str(values[name.replace("-", "_")]) == (value or "True"), (meaning, flag)

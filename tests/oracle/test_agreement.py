"""The planner and the pinned vLLM, model by model: legal sizes, weights and caches per rank."""

from __future__ import annotations

import pytest

from e2e.oracle import answers, models
from e2e.oracle.compare import Disagreement, disagreements
from e2e.oracle.explained import EXPLAINED

CONFIGS = models.load()
ANSWERS = answers.load()


def parted(name: str) -> list[Disagreement]:
    return list(disagreements(name, CONFIGS[name], ANSWERS[name]))


@pytest.mark.parametrize("name", CONFIGS)
def test_the_planner_agrees_with_vllm_or_it_is_known_why_not(name: str) -> None:
    assert [f"{entry.key}: {entry.text}" for entry in parted(name) if entry.key not in EXPLAINED] == []


def test_nothing_is_explained_that_no_longer_parts() -> None:
    named = {key.split(": ")[0] for key in EXPLAINED}
    assert named <= CONFIGS.keys()
    assert {entry.key for name in named for entry in parted(name)} >= EXPLAINED.keys()

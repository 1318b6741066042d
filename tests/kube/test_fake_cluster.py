"""The fake cluster does what the API server does; the same table runs on a real one end to end."""

from __future__ import annotations

import pytest

from tests.fakes.cluster import FakeCluster
from tests.kube.behaviour import CASES, Case


@pytest.mark.parametrize("case", [pytest.param(case, id=words) for words, case in CASES.items()])
async def test_the_fake_agrees(case: Case) -> None:
    await case(FakeCluster(), "team-a")

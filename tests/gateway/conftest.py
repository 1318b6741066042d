"""The running gateway pod, once per test file."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.gateway.stack import Stack, running_stack


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A gateway pod with nothing deployed."""
    async with running_stack(tmp_path_factory.mktemp("envoy")) as running:
        yield running

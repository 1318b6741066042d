"""Fixtures of the unit tests; the objects they are made of are in `tests.factories`."""

from __future__ import annotations

import asyncio

import pytest

from tests.factories import FixedClock


def pytest_sessionstart() -> None:
    """Keep pytest-asyncio from making a loop of its own in the main thread, which nobody would close."""
    asyncio.set_event_loop(None)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--update-golden` writes the rendered manifests anew instead of comparing with them."""
    parser.addoption("--update-golden", action="store_true", help="write tests/golden anew")


@pytest.fixture
def clock() -> FixedClock:
    """A clock that stands still until a test turns it."""
    return FixedClock()

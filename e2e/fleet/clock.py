"""A time of day that is wrong, for a process under test."""

from __future__ import annotations

from pathlib import Path

from e2e.cluster.hosttools import Tool, install
from e2e.cluster.progress import Steps


def clock_of(offset: Path) -> dict[str, str]:
    """Environment of a process whose time of day is off by what a file says; other clocks are right."""
    install([Tool("faketime", "faketime")], Steps())
    (library,) = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }

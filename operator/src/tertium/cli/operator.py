"""`tertium operator`: run the operator until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio

from tertium.app import run_operator
from tertium.logs import configure_logs
from tertium.settings import load_settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's help; all settings are environment variables."""
    parser.epilog = "Settings are environment variables that start with TERTIUM_; see tertium.settings."


def run(args: argparse.Namespace) -> int:
    """Run the operator. Raises `Terminal` for settings or a cluster that it cannot run with."""
    settings = load_settings()
    configure_logs(settings.log_level)
    asyncio.run(run_operator(settings))
    return 0

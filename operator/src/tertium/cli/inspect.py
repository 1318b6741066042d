"""`tertium inspect`: what the planner must know of a model, as one line of JSON.

The hub of an hf:// source is the one that HF_ENDPOINT and HF_TOKEN name.

Exit codes: 0 the facts were printed, 1 an error was printed, 3 the same and it may pass by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from tertium.api.conditions import Reason
from tertium.core.errors import Retryable, Terminal
from tertium.core.source import ClaimSource, parse_source
from tertium.loader.facts import Facts
from tertium.loader.folder import inspect_folder
from tertium.loader.hub import DEFAULT_ENDPOINT, Hub, inspect_hub


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("source", metavar="SOURCE", help="hf://ORG/NAME or pvc://CLAIM/PATH")
    parser.add_argument("--revision", help="branch, tag or commit of an hf:// source")
    parser.add_argument(
        "--mount",
        type=Path,
        default=Path("/model"),
        metavar="DIR",
        help="where the claim of a pvc:// source is mounted (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Inspect and print."""
    try:
        answer, code = {"facts": _inspect(args)}, 0
    except Terminal as error:
        answer, code = {"error": _error(error.reason, error)}, 1
    except Retryable as error:
        answer, code = {"error": _error(Reason.INSPECTION_FAILED, error)}, 3
    sys.stdout.write(json.dumps(answer, separators=(",", ":")) + "\n")
    return code


def _inspect(args: argparse.Namespace) -> Facts:
    source = parse_source(args.source)
    if isinstance(source, ClaimSource):
        return inspect_folder(args.mount, source.path, str(source))
    return inspect_hub(hub_of_environment(), source.repository, args.revision)


def hub_of_environment() -> Hub:
    """Return the hub that `HF_ENDPOINT` and `HF_TOKEN` name, as the hub's own tools read them."""
    endpoint = os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT
    return Hub(endpoint=endpoint.rstrip("/"), token=os.environ.get("HF_TOKEN") or None)


def _error(reason: Reason, error: Exception) -> Facts:
    return {"reason": str(reason), "message": str(error)}

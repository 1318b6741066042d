"""The `tertium` program: one file per verb, loaded only when asked for.

A verb's module has `configure(parser)`, which adds its arguments, and `run(args)`, which returns the exit
code.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Final

from tertium import __version__
from tertium.core.errors import TertiumError

VERBS: Final = {
    "operator": "run the operator",
    "explain": "say what the operator decides about a deployment and why, without writing anything",
    "gateway": "run the activator beside Envoy, or prepare and drain that pod",
    "inspect": "read a model's config and weight sizes from its source",
    "plan": "compute the minimum world size of a model",
    "key": "make an API key of the gateway, or the manifest for one you have",
    "crds": "print the CustomResourceDefinitions or their reference page",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb. Exit codes: 0 done, 1 failed, 2 bad input; more are documented by the verb."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="tertium", description="On-demand LLM deployments on Kubernetes.")
    parser.add_argument("--version", action="version", version=f"tertium {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, summary in VERBS.items():
        sub = verbs.add_parser(verb, help=summary, description=summary.capitalize() + ".")
        if verb in words[:1]:
            module = importlib.import_module(f"tertium.cli.{verb}")
            module.configure(sub)
            sub.set_defaults(run=module.run)
    args = parser.parse_args(words)
    try:
        return int(args.run(args))
    except TertiumError as error:
        sys.stderr.write(f"tertium {args.verb}: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130

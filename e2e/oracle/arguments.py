"""Puts command lines to the argument parser of the pinned vLLM: what `vllm serve` would make of them.

Runs with the engine's packages. Reads a JSON list of argument lists, writes for each the values that were
read, by name, or `{"refused": why}`; with `options` as its argument it lists every option there is.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "CRITICAL"}

from vllm.entrypoints.cli.serve import cmd_init
from vllm.utils.argparse_utils import FlexibleArgumentParser


def serve_parser() -> FlexibleArgumentParser:
    """The parser of `vllm serve`."""
    parser = FlexibleArgumentParser(prog="vllm")
    (command,) = cmd_init()
    return command.subparser_init(parser.add_subparsers(dest="subparser", required=True))


def parsed(parser: FlexibleArgumentParser, arguments: list[str]) -> dict[str, Any]:
    """What the parser reads from one command line."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            values = vars(parser.parse_args(arguments))
    except SystemExit:
        return {"refused": said.getvalue().strip().splitlines()[-1]}
    return {name: value for name, value in values.items() if isinstance(value, str | int | float | list)}


def main() -> None:
    """Answer the standard input."""
    answers, sys.stdout = sys.stdout, sys.stderr
    parser = serve_parser()
    if sys.argv[1:] == ["options"]:
        found: Any = sorted(option for option in parser._option_string_actions if option.startswith("--"))
    else:
        found = [parsed(parser, arguments) for arguments in json.load(sys.stdin)]
    answers.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()

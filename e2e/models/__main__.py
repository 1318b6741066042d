"""Makes the models in the cache and prints the folder that holds them: `python -m e2e.models`."""

import argparse
import subprocess
import sys

from e2e.cluster.progress import Steps
from e2e.models.library import NAMES, provide, where


def main(arguments: list[str]) -> int:
    """Make the models, or say where they are; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m e2e.models", description=__doc__)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--list", action="store_true", help="say which models are there; make nothing")
    choice.add_argument("--print-path", action="store_true", help="print the folder; make nothing")
    options = parser.parse_args(arguments)
    if options.list:
        for name in NAMES:
            print(f"{name}\t{'there' if (where() / name).is_dir() else 'not made yet'}\t{where() / name}")
        return 0
    if not options.print_path:
        try:
            provide(Steps())
        except (subprocess.CalledProcessError, ValueError, OSError) as failure:
            print(f"e2e.models: cannot make the models in {where()}: {failure}", file=sys.stderr)
            return 1
    print(where())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

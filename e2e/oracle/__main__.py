"""Ask the pinned vLLM, or compare the planner with what it answered.

python -m e2e.oracle check [MODEL ...]    compare; print every disagreement (exit code 1 when one is new)
python -m e2e.oracle record [MODEL ...]   ask vLLM again and store its answers (a quarter of an hour for all)
python -m e2e.oracle add FILE ...         take configs (NAME.json, NAME/config.json) into the fixture
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from e2e.oracle import answers, models
from e2e.oracle.ask import ask, questions
from e2e.oracle.compare import disagreements
from e2e.oracle.explained import EXPLAINED


def main() -> int:
    """Run one verb."""
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m e2e.oracle", description=__doc__, formatter_class=as_written
    )
    parser.add_argument("verb", choices=("check", "record", "add"))
    parser.add_argument("names", nargs="*", metavar="MODEL|FILE", help="default: every model of the fixture")
    args = parser.parse_args()
    verb = {"check": check, "record": record, "add": add}[args.verb]
    return verb(args.names)


def check(names: Sequence[str]) -> int:
    """Print the disagreements, with their explanation where there is one."""
    stored = answers.load()
    found = [
        entry for name, config in chosen(names).items() for entry in disagreements(name, config, stored[name])
    ]
    for entry in found:
        print(f"{entry.model}: {entry.topic}: {entry.text}\n    {EXPLAINED.get(entry.key, 'NOT EXPLAINED')}")
    new = sum(entry.key not in EXPLAINED for entry in found)
    print(f"{len(chosen(names))} models, {len(found)} disagreements, {new} not explained")
    return int(new > 0)


def record(names: Sequence[str]) -> int:
    """Ask about the models and store the answers beside those of the others."""
    known, everything = answers.load() if answers.ANSWERS.exists() else {}, models.load()
    for answer in ask(questions(chosen(names))):
        name = answer.pop("id")
        known[name] = answers.digest(answer)
        sys.stderr.write(f"{name}: {known[name].get('refused') or known[name]['legal']}\n")
        # After each, so that an end in between costs one answer.
        answers.store({name: known[name] for name in everything if name in known})
    return 0


def add(files: Sequence[str]) -> int:
    """Take configs into the fixture; their models are asked about by the next `record NAME`."""
    known = models.load() if models.MODELS.exists() else {}
    for file in map(Path, files):
        name = file.parent.name if file.name == "config.json" else file.stem
        known[name.replace("__", "/")] = json.loads(file.read_text(encoding="utf-8"))
    models.store(known)
    return 0


def chosen(names: Sequence[str]) -> dict[str, models.Json]:
    """The configs of these models, or of all."""
    known = models.load()
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.exit(f"error: the fixture has no {', '.join(unknown)}")
    return {name: known[name] for name in names or known}


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as failure:
        sys.exit(f"error: {failure}")

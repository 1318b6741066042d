"""`curl -N`, as a person types it; words after the way are more options for it."""

import json
import os
import subprocess
import sys

from plain import body, pieces


def main(model: str, question: str, way: str, *options: str) -> list[str]:
    """Ask, and return the answer in the pieces in which it came."""
    url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
    said = ("-H", "Content-Type: application/json", "-d", body(model, question, way))
    command = ["curl", "-N", "-sS", "--fail-with-body", *options, url, *said]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE)
    if done.returncode != 0:
        raise SystemExit(f"curl ended with {done.returncode} after {done.stdout.decode()}")
    return pieces(done.stdout, way)


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))

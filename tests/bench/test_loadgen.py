"""The load generator's own tests are in Go."""

from __future__ import annotations

import subprocess
from pathlib import Path

MODULE = Path(__file__).resolve().parents[2] / "e2e" / "bench" / "loadgen"


def test_its_own_tests_pass() -> None:
    done = subprocess.run(["go", "test", "./..."], cwd=MODULE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

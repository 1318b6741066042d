"""The import contracts hold, and `operator/` does not shadow the standard library's `operator`."""

from __future__ import annotations

import operator
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_import_contracts() -> None:
    lint = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--config", "pyproject.toml"],
        cwd=ROOT,
        env={"PYTHONPATH": "operator/src", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert lint.returncode == 0, lint.stdout + lint.stderr


def test_the_standard_operator_module_is_the_one_imported() -> None:
    assert operator.__file__ is not None
    assert Path(operator.__file__).parent == Path(sysconfig.get_path("stdlib"))


def test_the_operator_folder_is_no_package() -> None:
    assert list((ROOT / "operator").glob("*.py")) == []
    assert list((ROOT / "operator" / "src").glob("*.py")) == []


def test_kopf_is_imported_in_one_file() -> None:
    source = ROOT / "operator" / "src" / "tertium"
    users = [
        str(file.relative_to(source))
        for file in source.rglob("*.py")
        if any(line.startswith(("import kopf", "from kopf")) for line in file.read_text().splitlines())
    ]
    assert users == ["handlers.py"]

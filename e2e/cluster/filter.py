"""The gateway's filter, built with rustc into the cache."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

from e2e.cluster import hosttools
from e2e.cluster.binaries import REPOSITORY
from e2e.cluster.cache import keyed
from e2e.cluster.errors import ClusterError
from e2e.cluster.progress import Steps
from e2e.cluster.shell import locked, sh

SOURCES: Final = REPOSITORY / "images" / "gateway" / "filter"
NAME: Final = "filter.so"
_OPTIONS: Final = ("--edition=2021", "--crate-name=filter", "-Copt-level=3", "-Ccodegen-units=1")


def build(steps: Steps) -> Path:
    """Return the shared object that Envoy loads; install rustc and build it if need be.

    Raises:
        ClusterError: there is no rustc and none can be installed, or the build failed.
    """
    home = _home(NAME)
    if not (home / NAME).exists():
        _rustc(home, NAME, ["--crate-type=cdylib", "-Cstrip=symbols"], steps)
    return home / NAME


def build_tests(steps: Steps) -> Path:
    """Return the program that runs the filter's own tests. Raises as `build` does."""
    home = _home("filter-tests")
    # Envoy, whose functions the filter calls, is not there.
    options = ["--test", "-Clink-arg=-Wl,--unresolved-symbols=ignore-all"]
    if not (home / "filter-tests").exists():
        _rustc(home, "filter-tests", options, steps)
    return home / "filter-tests"


def _home(name: str) -> Path:
    compiler = shutil.which("rustc") or ""
    version = sh(compiler, "--version") if compiler else ""
    return keyed("filter", name, version, *_OPTIONS, *sorted(SOURCES.glob("*.rs")))


def _rustc(home: Path, name: str, options: list[str], steps: Steps) -> None:
    hosttools.install(hosttools.FILTER, steps)
    home.parent.mkdir(parents=True, exist_ok=True)
    with locked(home.parent / f".{home.name}.lock"):
        if (home / name).exists():  # another build of the same held the lock
            return
        home.mkdir(exist_ok=True)
        unfinished = home / f".{name}"
        with steps.step(f"rustc {name}"):
            command = ["rustc", *_OPTIONS, *options, "-o", str(unfinished), str(SOURCES / "lib.rs")]
            built = subprocess.run(command, check=False, capture_output=True, text=True)
            if built.returncode:
                raise ClusterError(f"rustc: the gateway's filter does not build:\n{built.stderr}")
        unfinished.rename(home / name)

"""The gateway's filter, built with rustc into the cache."""

import functools
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from e2e.cluster import hosttools
from e2e.cluster.binaries import REPOSITORY
from e2e.cluster.cache import cache_root, keyed
from e2e.cluster.errors import ClusterError
from e2e.cluster.progress import Steps
from e2e.cluster.shell import locked, sh

SOURCES: Final = REPOSITORY / "images" / "gateway" / "filter"
_OPTIONS: Final = ("--edition=2021", "--crate-name=filter", "-Copt-level=3", "-Ccodegen-units=1")
LIBRARY: Final = (*_OPTIONS, "--crate-type=cdylib", "-Cstrip=symbols")
"""The options by which the image's Dockerfile builds it too."""
_TESTS: Final = (*_OPTIONS, "--test", "-Clink-arg=-Wl,--unresolved-symbols=ignore-all")
"""Envoy, whose functions the filter calls, is not there."""


@functools.cache
def build() -> Path:
    """Return the shared object that Envoy loads; install rustc and build it if need be.

    Raises:
        ClusterError: there is no rustc and none can be installed, or the build failed.
    """
    return _built("filter.so", LIBRARY)


@functools.cache
def build_tests() -> Path:
    """Return the program that runs the filter's own tests. Raises as `build` does."""
    return _built("filter-tests", _TESTS)


def _built(name: str, options: Sequence[str]) -> Path:
    steps = Steps()
    with locked(cache_root() / "filter" / ".lock"):  # several processes of tests begin together
        hosttools.install(hosttools.FILTER, steps)
        version = sh("rustc", "--version", "--verbose")
        home = keyed("filter", name, version, *options, *sorted(SOURCES.glob("*.rs")))
        if not (home / name).exists():
            home.mkdir(exist_ok=True)
            with steps.step(f"rustc {name}"):
                _rustc(home / f".{name}", options)
            (home / f".{name}").rename(home / name)
    return home / name


def _rustc(output: Path, options: Sequence[str]) -> None:
    command = ["rustc", *options, "-o", str(output), str(SOURCES / "lib.rs")]
    built = subprocess.run(command, check=False, capture_output=True, text=True)
    if built.returncode:
        raise ClusterError(f"rustc: the gateway's filter does not build:\n{built.stderr}")

"""Running other programs, with failure as one readable error; and the locks that keep two runs apart."""

import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from e2e.cluster.errors import ClusterError

_NEVER_BY_PROXY: Final = ("10.0.0.0/8", "198.18.0.0/15", "127.0.0.1", "localhost", ".svc", ".cluster.local")


class CommandFailed(ClusterError, subprocess.CalledProcessError):
    """A program ended with another status than 0; `stderr` and `stdout` hold what it said."""

    def __init__(self, command: list[str], status: int, stdout: str, stderr: str) -> None:
        subprocess.CalledProcessError.__init__(self, status, command, stdout, stderr)

    def __str__(self) -> str:
        """Name the command and show the end of what it said."""
        said = (self.stdout + self.stderr).strip().splitlines()[-15:]
        return "\n".join(
            [f"{' '.join(self.cmd)[:300]}: ended with {self.returncode}", *(f"  {line}" for line in said)]
        )


def search_path() -> str:
    """Return PATH with the folders of system programs, which a plain user's may lack."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return a child's environment: programs are found, and no proxy stands before a cluster."""
    direct = ",".join(
        filter(None, [os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), *_NEVER_BY_PROXY])
    )
    return {**os.environ, "PATH": search_path(), "NO_PROXY": direct, "no_proxy": direct, **extra}


def sh(
    *args: str | Path | int,
    input: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = True,
) -> str:
    """Run a program and return what it printed.

    Raises:
        CommandFailed: it ended with another status than 0 and `check` is set.
    """
    command = [str(arg) for arg in args]
    try:
        done = subprocess.run(
            command,
            # An empty input is the end of file at once.
            input=input or "",
            env=_environment(env or {}),
            cwd=cwd,
            text=True,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError as missing:
        if not check:
            return ""
        raise ClusterError(f"{command[0]}: no such program ({missing.filename})") from missing
    if check and done.returncode != 0:
        raise CommandFailed(command, done.returncode, done.stdout, done.stderr)
    return done.stdout


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock that ends with the process, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another run, which holds {path}", file=sys.stderr, flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield

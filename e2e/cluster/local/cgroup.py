"""The cgroup of a cluster: starting processes in it, finding them, and killing all of them.

Membership survives everything that a pid file does not, so "stop the cluster" is "empty this cgroup".
"""

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Final

from e2e.cluster.errors import ClusterError
from e2e.cluster.shell import sh

ROOT: Final = Path("/sys/fs/cgroup")
_V2_CONTROLLERS: Final = ("cpu", "cpuset", "hugetlb", "io", "memory", "pids")


def version(root: Path = ROOT) -> int:
    """Return 2 where one hierarchy holds all controllers, 1 where each has its own."""
    return 2 if (root / "cgroup.controllers").exists() else 1


class Cgroup:
    """One tree named `name` at the top of every hierarchy."""

    def __init__(self, name: str, root: Path = ROOT) -> None:
        self._name = name
        self._v1 = version(root) == 1
        mounted = sorted(d for d in root.iterdir() if d.is_dir()) if self._v1 else [root]
        # On v1, "unified" is a view of version 2 without controllers; runc makes groups there by itself.
        self._hierarchies = [d for d in mounted if d.name != "unified"]
        self._cleared = mounted
        self._tree = (root / "pids" if self._v1 else root) / name

    def make(self, group: str) -> None:
        """Create `group` (a relative path) with the controllers that a kubelet asks for.

        Raises:
            ClusterError: the kernel refuses.
        """
        try:
            for hierarchy in self._hierarchies:
                at = hierarchy
                for part in (self._name, *group.split("/")):
                    parent, at = at, at / part
                    at.mkdir(exist_ok=True)
                    if self._v1:
                        _inherit_cpuset(parent, at)
                    else:
                        _delegate(parent)
        except OSError as refused:
            raise ClusterError(
                f"cgroup {refused.filename}: {refused.strerror}; the tool needs a writable cgroup"
                f" v{1 if self._v1 else 2} tree (in a container: run it privileged)"
            ) from refused

    def spawn(self, group: str, argv: list[str], log: Path) -> int:
        """Start a program in `group`, detached, its output appended to `log`; return its pid."""
        script = 'echo $$ > "$1" || exit; log=$2; shift 2; "$@" < /dev/null >> "$log" 2>&1 & echo $!'
        # setsid: a Ctrl-C meant for this tool must not reach the cluster.
        return int(sh("setsid", "sh", "-c", script, "sh", self._tree / group / "cgroup.procs", log, *argv))

    def members(self, group: str = "") -> list[int]:
        """Return every process in `group` and below it."""
        pids: list[int] = []
        # A pod's cgroup may go away while we look: os.walk passes over it, as Path.rglob does not.
        for directory, _, _ in os.walk(self._tree / group):
            with contextlib.suppress(OSError):
                pids += map(int, Path(directory, "cgroup.procs").read_text().split())
        return pids

    def find(self, group: str, program: str) -> list[int]:
        """Return the processes of `group` that were called by this program name."""
        return [pid for pid in self.members(group) if program_of(pid) == program]

    def kill(self) -> None:
        """Kill every process until none is left.

        Raises:
            ClusterError: some are still there after 20 s.
        """
        end = time.monotonic() + 20
        while pids := self.members():
            for pid in pids:
                send(pid, signal.SIGKILL)
            if time.monotonic() > end:
                raise ClusterError(
                    f"cgroup {self._tree}: processes {pids} do not die; they are stuck in the kernel"
                )
            time.sleep(0.02)

    def remove(self) -> None:
        """Remove the empty tree from every hierarchy."""
        for hierarchy in self._cleared:
            for directory, _, _ in os.walk(hierarchy / self._name, topdown=False):
                Path(directory).rmdir()


def program_of(pid: int) -> str:
    """Return the name a process was called by, or an empty string when it is gone."""
    try:
        first = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
    except OSError:
        return ""
    return os.path.basename(first.decode())


def alive(pid: int) -> bool:
    """Say whether a process runs; one that ended and waits to be reaped does not.

    Its first thread may have ended before the others, which still hold its ports.
    """
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in "ZX" or len(os.listdir(f"/proc/{pid}/task")) > 1
    except OSError:
        return False


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal; a process that is gone already is fine."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def stop(pid: int) -> None:
    """Kill a process and wait until it has ended."""
    send(pid, signal.SIGKILL)
    while alive(pid):
        time.sleep(0.01)


def _inherit_cpuset(parent: Path, child: Path) -> None:
    """Fill in what version 1 leaves empty, and without which no process may enter."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        if (child / name).exists() and not (child / name).read_text().strip():
            (child / name).write_text((parent / name).read_text())


def _delegate(parent: Path) -> None:
    """Let the children of a version 2 group have the controllers that a kubelet asks for."""
    available = (parent / "cgroup.controllers").read_text().split()
    wanted = " ".join(f"+{name}" for name in _V2_CONTROLLERS if name in available)
    (parent / "cgroup.subtree_control").write_text(wanted)

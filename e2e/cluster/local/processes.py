"""The processes of a running local cluster: starting them, and noticing at once when one has died."""

import time
from collections.abc import Callable, Sequence

from e2e.cluster.errors import ClusterError
from e2e.cluster.local import cgroup
from e2e.cluster.local.cgroup import Cgroup
from e2e.cluster.local.layout import Layout


class Processes:
    """Starts programs in a cluster's cgroup and watches those that it started."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._group = Cgroup(layout.cgroup)
        self._watched: dict[str, int] = {}

    @property
    def group(self) -> Cgroup:
        """The cgroup itself."""
        return self._group

    def start(self, what: str, group: str, argv: Sequence[str]) -> int:
        """Start `argv` in `group` with the log `what`.log; return its pid."""
        pid = self._group.spawn(group, list(argv), self._layout.log / f"{what}.log")
        self._watched[what] = pid
        return pid

    def find(self, group: str, program: str) -> int:
        """Return the process of `group` that was called by this program name, whoever started it.

        Raises:
            ClusterError: there is none.
        """
        found = self._group.find(group, program)
        if not found:
            raise ClusterError(f"cluster {self._layout.name}: no {program} runs in {group}")
        return found[0]

    def forget(self, what: str) -> None:
        """Watch a process no longer."""
        self._watched.pop(what, None)

    def wait(self, what: str, probe: Callable[[], bool], *, seconds: float = 60, every: float = 0.03) -> None:
        """Wait until `probe` returns true; OSError, ValueError and ClusterError count as "not yet".

        Raises:
            ClusterError: a process died meanwhile, or the time is over.
        """
        end = time.monotonic() + seconds
        last = ""
        while True:
            try:
                if probe():
                    return
                last = ""
            except (OSError, ValueError, ClusterError) as not_yet:
                last = f": {not_yet}"
            self._check_alive()
            if time.monotonic() > end:
                raise ClusterError(
                    f"{what}: not there after {seconds:.0f} s{last}; logs are in {self._layout.log}"
                )
            time.sleep(every)

    def _check_alive(self) -> None:
        for what, pid in self._watched.items():
            if not cgroup.alive(pid):
                log = self._layout.log / f"{what}.log"
                tail = "\n".join(f"  {line}" for line in log.read_text(errors="replace").splitlines()[-8:])
                raise ClusterError(f"{what} died; the end of {log}:\n{tail}")

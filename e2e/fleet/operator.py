"""The operator as a process of this machine, one of a cluster's, so that it ends with it."""

from __future__ import annotations

import json
import os
import signal
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

from e2e.cluster.local import cgroup
from e2e.waiting import until

_TICKS: Final = os.sysconf("SC_CLK_TCK")


class OperatorProcess:
    """One operator; its log is a file of JSON lines."""

    def __init__(self, pid: int, log: Path, port: int) -> None:
        self.pid = pid
        self.log = log
        self._port = port

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return cgroup.alive(self.pid)

    @property
    def cpu_seconds(self) -> float:
        """User and system time spent so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    @property
    def rss_mib(self) -> float:
        """Resident memory now."""
        return self._memory("VmRSS")

    @property
    def peak_mib(self) -> float:
        """The most resident memory there was."""
        return self._memory("VmHWM")

    def wait_ready(self, *, seconds: float = 30) -> None:
        """Wait for `/readyz`. Raises RuntimeError when the operator ends instead."""

        def probe() -> bool:
            if not self.running:
                raise RuntimeError(f"the operator ended: {self.log.read_text()[-2000:]}")
            return self.health("readyz") == 200

        until("the operator is ready", probe, seconds=seconds, every=0.05)

    def health(self, path: str) -> int:
        """Ask for `/livez` or `/readyz`; 0: nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/{path}", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            return refused.code
        except OSError:
            return 0

    def lines(self) -> list[dict[str, Any]]:
        """Return the log so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def freeze(self) -> None:
        """Stop it without ending it."""
        cgroup.send(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        cgroup.send(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it without a chance to tidy up; an ended one stays ended."""
        cgroup.stop(self.pid)

    def stop(self) -> None:
        """End it as a kubelet does, with time to give its Lease back."""
        cgroup.send(self.pid, signal.SIGTERM)
        self.wait_end(seconds=20)

    def wait_end(self, *, seconds: float) -> None:
        """Wait until it has ended, by whatever."""
        until(f"the end of process {self.pid}", lambda: not self.running, seconds=seconds, every=0.02)

    def _memory(self, field: str) -> float:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition(f"{field}:")[2].split()[0]) / 1024


def free_port() -> int:
    """Return a port of this machine's loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

"""What processes of this machine cost: processor time and memory, from /proc."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")


def process_of(program: str, word: str) -> int:
    """Return the process of a program whose command line has this word in it.

    Raises RuntimeError when there is none.
    """
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_text().split("\0")
        except OSError:
            continue
        if words[0].endswith(program) and any(word in part for part in words):
            return int(path.parent.name)
    raise RuntimeError(f"no {program} runs with {word}")


def family(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children[int(fields[1])].append(int(entry.name))
    found = [pid]
    for parent in found:
        found += children[parent]
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time that these processes have spent; one that has ended counts nothing."""
    return sum(sum(map(int, fields[11:13])) for pid in pids if (fields := _stat(pid))) / _TICKS


def rss_mib(pids: Iterable[int]) -> float:
    """Resident memory of these processes; pages that they share count for each."""
    return sum(_memory(pid, "VmRSS") for pid in pids)


def peak_mib(pids: Iterable[int]) -> float:
    """The most that each of them has had since its start, or since `forget_peak`."""
    return sum(_memory(pid, "VmHWM") for pid in pids)


def forget_peak(pids: Iterable[int]) -> None:
    """Let the peak be what is resident now."""
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def _stat(pid: int) -> list[str]:
    """Return the fields after the name, from the state on; none for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _memory(pid: int, field: str) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return int(status.partition(f"{field}:")[2].split()[0]) / 1024

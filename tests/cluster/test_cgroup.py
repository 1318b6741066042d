"""Both versions of cgroups, on trees of plain files."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster.errors import ClusterError
from e2e.cluster.local import cgroup
from e2e.cluster.local.cgroup import Cgroup, version


@pytest.fixture
def v1(tmp_path: Path) -> Path:
    """Three hierarchies as version 1 mounts them; a new cpuset is empty there."""
    for name in ("cpuset", "pids", "unified"):
        (tmp_path / name).mkdir()
    (tmp_path / "cpuset" / "cpuset.cpus").write_text("0-1\n")
    (tmp_path / "cpuset" / "cpuset.mems").write_text("0\n")
    return tmp_path


@pytest.fixture
def v2(tmp_path: Path) -> Path:
    """The one hierarchy of version 2, with a controller that no kubelet asks for."""
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids rdma\n")
    return tmp_path


def test_version_is_told_from_the_controllers_file(v2: Path) -> None:
    assert version(v2) == 2
    assert version(v2.parent) == 1


def test_v1_makes_the_group_in_every_hierarchy_but_the_unified_one(v1: Path) -> None:
    Cgroup("c", v1).make("node-0/system")
    made = {path.relative_to(v1).parts[0] for path in v1.rglob("system")}
    assert made == {"cpuset", "pids"}


def test_v1_fills_in_the_cpus_that_a_new_group_lacks(v1: Path) -> None:
    for at in ("c", "c/node-0"):
        (v1 / "cpuset" / at).mkdir()
        (v1 / "cpuset" / at / "cpuset.cpus").write_text("\n")
        (v1 / "cpuset" / at / "cpuset.mems").write_text("\n")
    Cgroup("c", v1).make("node-0")
    assert (v1 / "cpuset/c/node-0/cpuset.cpus").read_text() == "0-1\n"
    assert (v1 / "cpuset/c/node-0/cpuset.mems").read_text() == "0\n"


def test_v1_removes_what_runc_made_in_the_unified_hierarchy(v1: Path) -> None:
    (v1 / "unified/c/node-0").mkdir(parents=True)
    Cgroup("c", v1).remove()
    assert not (v1 / "unified/c").exists()


def test_v2_hands_on_every_controller_that_a_kubelet_asks_for(v2: Path) -> None:
    (v2 / "c").mkdir()
    (v2 / "c" / "cgroup.controllers").write_text("cpu pids\n")
    Cgroup("c", v2).make("control")
    assert (v2 / "cgroup.subtree_control").read_text() == "+cpu +cpuset +io +memory +pids"
    assert (v2 / "c" / "cgroup.subtree_control").read_text() == "+cpu +pids"
    assert not (v2 / "c" / "control" / "cgroup.subtree_control").exists()


def test_members_are_those_of_all_groups_below(v1: Path) -> None:
    cgroup = Cgroup("c", v1)
    for group, pids in {"control": "11\n12\n", "node-0/system": "21\n"}.items():
        cgroup.make(group)
        (v1 / "pids/c" / group / "cgroup.procs").write_text(pids)
    assert sorted(cgroup.members()) == [11, 12, 21]
    assert cgroup.members("node-0") == [21]


def test_a_pod_s_group_that_goes_away_meanwhile_has_no_members(
    v1: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cgroup = Cgroup("c", v1)
    for group, pids in {"node-0": "21\n", "node-0/gone": "22\n"}.items():
        cgroup.make(group)
        (v1 / "pids/c" / group / "cgroup.procs").write_text(pids)
    scandir = os.scandir

    def vanishing(path: Path) -> Any:
        if Path(path).name == "gone":
            raise FileNotFoundError(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", vanishing)
    assert cgroup.members() == [21]


def test_a_tree_that_may_not_be_written_is_named(v1: Path) -> None:
    (v1 / "pids" / "c").touch()
    with pytest.raises(ClusterError, match="the tool needs a writable cgroup v1 tree"):
        Cgroup("c", v1).make("control")


HEADLESS = """
import ctypes, platform, threading, time
threading.Thread(target=time.sleep, args=(60,)).start()
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[platform.machine()], 0)  # exit: this thread alone
"""


def test_a_process_whose_first_thread_has_ended_is_alive_until_it_is_stopped() -> None:
    with subprocess.Popen([sys.executable, "-c", HEADLESS]) as process:
        while "Z" not in Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2]:
            assert process.poll() is None
        assert cgroup.alive(process.pid)
        cgroup.stop(process.pid)
        assert not cgroup.alive(process.pid)

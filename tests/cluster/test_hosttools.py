"""One message names everything that the machine lacks."""

import os
from pathlib import Path

import pytest

from e2e.cluster import hosttools
from e2e.cluster.errors import ClusterError
from e2e.cluster.hosttools import LOCAL, check, missing
from e2e.cluster.shell import search_path


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with nothing installed, and a plain user on it."""
    monkeypatch.setattr(hosttools, "find", lambda program: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


@pytest.mark.usefixtures("bare")
def test_a_bare_machine_is_told_all_at_once() -> None:
    with pytest.raises(ClusterError) as error:
        check(LOCAL, "a local cluster")
    first, root, programs, go = str(error.value).splitlines()
    assert first == "a local cluster needs what this machine lacks:"
    assert root.startswith("  root: ")
    assert programs.startswith("  containerd, ctr, runc, nft, ")
    assert (
        "apt-get install -y --no-install-recommends buildah containerd containernetworking-plugins"
        in programs
    )
    assert go == "  go: 1.26 or later, from https://go.dev/dl/"


def test_a_machine_with_everything_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosttools, "find", lambda program: f"/usr/bin/{program}")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert missing(LOCAL) == []


def test_only_the_packages_that_lack_are_to_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        hosttools, "find", lambda program: None if program == "nft" else f"/usr/bin/{program}"
    )
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert missing(LOCAL) == ["nft: apt-get install -y --no-install-recommends nftables   (or: up --install)"]


def test_programs_are_found_where_a_plain_users_path_does_not_lead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert hosttools.find("true") is None
    (tmp_path / "true").write_text("")
    (tmp_path / "true").chmod(0o755)
    assert hosttools.find("true") == str(tmp_path / "true")
    assert search_path().endswith("/usr/sbin:/sbin")

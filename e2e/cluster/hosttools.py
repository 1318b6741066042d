"""What the machine must bring: programs of its distribution, and root. One message names all that lacks."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from e2e.cluster.errors import ClusterError
from e2e.cluster.progress import Steps
from e2e.cluster.shell import search_path, sh

_CNI_DIRECTORIES: Final = ("/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni")


@dataclass(frozen=True, slots=True)
class Tool:
    """A program and the Debian package that has it."""

    program: str
    package: str


IMAGES: Final = (
    Tool("buildah", "buildah"),
    Tool("mmdebstrap", "mmdebstrap"),
)
FILTER: Final = (
    Tool("rustc", "rustc"),
    Tool("cc", "gcc"),  # rustc has it link
)
POLICIES: Final = (
    Tool("iptables", "iptables"),
    Tool("ipset", "ipset"),
)
LOCAL: Final = (
    Tool("containerd", "containerd"),
    Tool("ctr", "containerd"),
    Tool("runc", "runc"),
    Tool("nft", "nftables"),
    Tool("ip", "iproute2"),
    Tool("openssl", "openssl"),
    Tool("mount", "mount"),
    Tool("nsenter", "util-linux"),
    Tool("setsid", "util-linux"),
    Tool("unshare", "util-linux"),
    Tool("cni:bridge", "containernetworking-plugins"),
    Tool("cni:host-local", "containernetworking-plugins"),
    *IMAGES,
    *FILTER,
)


def find(program: str) -> str | None:
    """Return the path of a program, or of a CNI plugin as "cni:NAME"."""
    if program.startswith("cni:"):
        return shutil.which(program.removeprefix("cni:"), path=os.pathsep.join(_CNI_DIRECTORIES))
    return shutil.which(program, path=search_path())


def path(program: str) -> str:
    """Return the path of a program that is known to be there."""
    if found := find(program):
        return found
    raise ClusterError(f"{program}: no such program")


def cni_directory() -> str:
    """Return the directory of the CNI plugins."""
    return str(Path(path("cni:bridge")).parent)


def missing(tools: Sequence[Tool]) -> list[str]:
    """Return what lacks, as lines for the user; empty when nothing does."""
    lines = []
    if os.geteuid() != 0:
        lines.append("root: namespaces, cgroups and mounts need it; run the same command with sudo")
    absent = [tool for tool in tools if not find(tool.program)]
    if absent:
        programs = ", ".join(tool.program.removeprefix("cni:") for tool in absent)
        lines.append(f"{programs}: {install_line(absent)}   (or: up --install)")
    return [*lines, *missing_go()]


def missing_go() -> list[str]:
    """Return the line about Go, if it lacks; distributions carry releases that are too old."""
    return [] if find("go") else ["go: 1.26 or later, from https://go.dev/dl/"]


def install_line(tools: Sequence[Tool]) -> str:
    """Return the command that installs the packages of `tools`."""
    return f"apt-get install -y --no-install-recommends {' '.join(sorted({tool.package for tool in tools}))}"


def check(tools: Sequence[Tool], purpose: str) -> None:
    """Refuse to begin what would fail half-way.

    Raises:
        ClusterError: with one line for everything that lacks.
    """
    if lines := missing(tools):
        raise ClusterError(
            "\n".join([f"{purpose} needs what this machine lacks:", *(f"  {line}" for line in lines)])
        )


def install(tools: Sequence[Tool], steps: Steps) -> None:
    """Install the packages of the tools that lack, with apt.

    Raises:
        ClusterError: not root, no apt, or apt failed.
    """
    absent = [tool for tool in tools if not find(tool.program)]
    if not absent:
        return
    if os.geteuid() != 0 or not find("apt-get"):
        check(tools, "the installation")
    command = install_line(absent).split()
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    with steps.step("apt-get update"):
        sh("apt-get", "update", "-qq", env=quiet)
    with steps.step(" ".join(command)):
        sh(*command, env=quiet)

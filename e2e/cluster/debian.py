"""Base images from Debian packages, for machines that reach a package mirror but no container registry.

The mirror is whatever this machine's apt uses; it is asked, never written down.
"""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from e2e.cluster.errors import ClusterError
from e2e.cluster.shell import CommandFailed, sh

HERE: Final = Path(__file__).resolve().parents[2] / "images" / "base"
# Base images by name, with the lists of what each holds.
BASES: Final = {
    "base": (HERE / "packages.txt",),
    "builder": (HERE / "packages.txt", HERE / "builder-packages.txt"),
}
HOOK: Final = HERE / "root-hook.sh"


def suite() -> str:
    """Return the code name of this machine's Debian release.

    Raises:
        ClusterError: this is no Debian.
    """
    release = Path("/etc/os-release").read_text() if Path("/etc/os-release").exists() else ""
    name = re.search(r'^VERSION_CODENAME="?(\w+)"?$', release, re.MULTILINE)
    if not name or not Path("/etc/apt").is_dir():
        raise ClusterError(
            "images: base images are made from Debian packages, and this machine has no apt; use Docker"
        )
    return name[1]


def python_version(policy: str) -> str:
    """Return the version of Python that an image of this release gets, from `apt-cache policy python3`.

    Raises:
        ClusterError: apt knows of none.
    """
    found = re.search(r"^ *Candidate: (?:\d+:)?(\d+\.\d+)", policy, re.MULTILINE)
    if not found:
        raise ClusterError("images: apt knows no package python3; run apt-get update")
    return found[1]


def packages(path: Path) -> list[str]:
    """Return the package names of a list."""
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]


def sources(listing: str, release: str) -> list[str]:
    """Return apt's lines for `release` from what `apt-get indextargets` prints: this machine's mirrors.

    Other suites and other people's repositories do not belong into an image.
    """
    lines: dict[str, set[str]] = {}
    for row in listing.splitlines():
        site, of_release, component, signed_by = (row.split("|") + [""] * 4)[:4]
        if of_release in (release, f"{release}-updates", f"{release}-security"):
            options = f"[signed-by={signed_by}] " if signed_by.startswith("/") else ""
            lines.setdefault(f"deb {options}{site} {of_release}", set()).add(component)
    return [f"{line} {' '.join(sorted(components))}" for line, components in sorted(lines.items())]


def make_root(archive: Path, package_lists: Sequence[Path], log: Path) -> None:
    """Write a tar archive of a Debian root that holds the packages of the lists and no package manager.

    Raises:
        ClusterError: mmdebstrap failed; the end of its log is in the message.
    """
    release = suite()
    form = "$(SITE)|$(RELEASE)|$(COMPONENT)|$(SIGNED_BY)"
    mirrors = sources(sh("apt-get", "indextargets", "--format", form, "Created-By: Packages"), release)
    if not mirrors:
        raise ClusterError(
            f"images: apt on this machine knows no mirror for {release}; see /etc/apt/sources.list"
        )
    names = ",".join(name for path in package_lists for name in packages(path))
    command = [
        *("mmdebstrap", "--variant=extract", "--mode=root", f"--include={names}"),
        "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
        f"--extract-hook={HOOK}",
        *(f"--aptopt={option}" for option in _apt_options()),
        *(release, str(archive), "-"),
    ]
    with log.open("w") as out:
        done = subprocess.run(
            command,
            input="\n".join(mirrors) + "\n",
            text=True,
            stdout=out,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode != 0:
        raise CommandFailed(command, done.returncode, log.read_text(), "")


def _apt_options() -> list[str]:
    """Return how this machine's apt reaches its mirrors: proxies and certificates."""
    dump = sh("apt-config", "dump", "--format", '%f "%v";%n', "Acquire")
    return [
        line for line in dump.splitlines() if re.match(r"(?i)Acquire::https?::(Proxy|CaInfo|Verify)", line)
    ]

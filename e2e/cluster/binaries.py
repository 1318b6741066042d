"""The programs of a cluster, built with Go into the cache; a wrapper module pins each by hash."""

import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from e2e.cluster.cache import keyed
from e2e.cluster.errors import ClusterError
from e2e.cluster.progress import Steps
from e2e.cluster.shell import locked, sh

REPOSITORY: Final = Path(__file__).resolve().parents[2]
MODULES: Final = Path(__file__).resolve().parent / "go"
_KUBERNETES: Final = MODULES / "kube"


@dataclass(frozen=True, slots=True, kw_only=True)
class GoProgram:
    """One program: the module that pins it, the package to build, and the names to call it by."""

    name: str
    module: Path
    package: str = "."
    links: tuple[str, ...] = ()
    ldflags: tuple[str, ...] = field(default=())


def _kubernetes_version() -> tuple[str, ...]:
    """Say at link time which Kubernetes this is; without it every part calls itself v0.0.0."""
    found = re.search(r"k8s\.io/kubernetes v(\d+)\.(\d+)\.(\d+)", (_KUBERNETES / "go.mod").read_text())
    if not found:
        raise ClusterError(f"{_KUBERNETES / 'go.mod'}: no requirement of k8s.io/kubernetes at a release")
    major, minor, patch = found.groups()
    values = {
        "gitVersion": f"v{major}.{minor}.{patch}",
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
    }
    return tuple(f"-X k8s.io/component-base/version.{name}={value}" for name, value in values.items())


KUBE: Final = GoProgram(
    name="kube",
    module=_KUBERNETES,
    links=("kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubectl", "kubelet"),
    ldflags=_kubernetes_version(),
)
ETCD: Final = GoProgram(name="etcd", module=MODULES / "etcd", package="go.etcd.io/etcd/server/v3")
COREDNS: Final = GoProgram(name="coredns", module=MODULES / "coredns")
HELM: Final = GoProgram(name="helm", module=MODULES / "helm", package="helm.sh/helm/v4/cmd/helm")
KWOK: Final = GoProgram(name="kwok", module=MODULES / "kwok", package="sigs.k8s.io/kwok/cmd/kwok")
KUBE_ROUTER: Final = GoProgram(
    name="kube-router",
    module=MODULES / "kube-router",
    package="github.com/cloudnativelabs/kube-router/v2/cmd/kube-router",
)
KIND: Final = GoProgram(name="kind", module=MODULES / "kind", package="sigs.k8s.io/kind")
KIND_CHECK: Final = GoProgram(name="kindcheck", module=MODULES / "kind")
PAUSE: Final = GoProgram(name="pause", module=MODULES / "pause")
FAKE_GPU: Final = GoProgram(name="fake-gpu", module=REPOSITORY / "images" / "fake-gpu")
ENGINE_DOUBLE: Final = GoProgram(name="engine-double", module=REPOSITORY / "e2e" / "engine-double")
LOADGEN: Final = GoProgram(name="loadgen", module=REPOSITORY / "e2e" / "bench" / "loadgen")

LOCAL_CLUSTER: Final = (PAUSE, FAKE_GPU, ETCD, COREDNS, KUBE)


def go_version() -> str:
    """Return what `go version` says.

    Raises:
        ClusterError: there is no Go.
    """
    if not shutil.which("go"):
        raise ClusterError(
            "go: not on PATH; Go 1.26 or later builds the cluster's programs: https://go.dev/dl/"
        )
    return sh("go", "version").strip()


def where(program: GoProgram, version: str) -> Path:
    """Return the cache directory of a program; its key is everything that decides the bytes."""
    sources = sorted(
        p for p in program.module.rglob("*") if p.name in ("go.mod", "go.sum") or p.suffix == ".go"
    )
    return keyed("bin", version, program.name, program.package, *program.ldflags, *sources)


def build(programs: Sequence[GoProgram], steps: Steps) -> Mapping[str, Path]:
    """Build what the cache lacks, and return the path of every program by each of its names.

    A build that was killed leaves nothing behind that a later one would take for whole.

    Raises:
        ClusterError: there is no Go, or a build failed.
    """
    version = go_version()
    paths: dict[str, Path] = {}
    for program in programs:
        home = where(program, version)
        if not (home / program.name).exists():
            with locked(home.parent / f".{program.name}.lock"):
                # Another build of the same may have held the lock.
                if not (home / program.name).exists():
                    with steps.step(f"go build {program.name}"):
                        _build(program, home)
        paths |= {name: home / name for name in (program.name, *program.links)}
    return paths


def _build(program: GoProgram, home: Path) -> None:
    with tempfile.TemporaryDirectory(dir=home.parent, prefix=f".{program.name}-") as work:
        ready = Path(work, "ready")
        ready.mkdir()
        sh(
            *("go", "build", "-trimpath", "-ldflags", " ".join(["-s", "-w", *program.ldflags])),
            *("-o", ready / program.name, program.package),
            cwd=program.module,
            env={"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false -mod=readonly", "GOWORK": "off"},
        )
        for link in program.links:
            (ready / link).symlink_to(program.name)
        shutil.rmtree(home, ignore_errors=True)
        os.rename(ready, home)

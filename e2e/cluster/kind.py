"""The kind back end: Kubernetes in containers, where a Docker engine runs privileged ones."""

import functools
import io
import json
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from e2e.cluster import addons, binaries, hosttools, images, imagespecs
from e2e.cluster.binaries import REPOSITORY
from e2e.cluster.cache import cache_root
from e2e.cluster.errors import ClusterError
from e2e.cluster.local.api import node_complaint
from e2e.cluster.local.images import contents, write_archive
from e2e.cluster.progress import Steps
from e2e.cluster.proxy import ApiProxy
from e2e.cluster.shell import locked, sh
from e2e.cluster.spec import ClusterSpec
from e2e.cluster.state import Record, state_root

CONFIG: Final = REPOSITORY / "e2e" / "kind.yaml"


def render(base: str, spec: ClusterSpec, shared: Path) -> str:
    """Return kind's configuration for a spec from that of the repository.

    Every node sees `shared`, where models and engine packages are, and the spec's mounts at their own paths.
    """
    *head, worker = base.rstrip().splitlines()
    folders = dict.fromkeys([str(shared), *(mount.host for mount in spec.mounts)])
    mounts = [{"hostPath": folder, "containerPath": folder, "readOnly": True} for folder in folders]
    node = [worker, f"  extraMounts: {json.dumps(mounts)}"]
    named = [f"name: {spec.name}" if line.startswith("name:") else line for line in head]
    return "\n".join([*named, *(node * spec.nodes), ""])


def node_names(spec: ClusterSpec) -> list[str]:
    """Return the names that kind gives its workers."""
    return [f"{spec.name}-worker{i + 1 if i else ''}" for i in range(spec.nodes)]


@functools.cache
def complaint() -> str:
    """Say why kind cannot work here; empty where it can.

    The engine is asked to run a privileged container, because one that may not says so only then.
    """
    if not images.docker_answers():
        return "no Docker engine answers"
    if not hosttools.find("go"):
        return "no Go to build kind with"
    probe = binaries.build([binaries.PAUSE], Steps(quiet=True))["pause"]
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(probe, arcname="pause")
    docker = hosttools.path("docker")
    imported = subprocess.run(
        [docker, "import", "-", "localhost/tertium-probe:dev"],
        input=archive.getvalue(),
        capture_output=True,
        check=False,
    )
    run = (
        "run",
        "--rm",
        "--privileged",
        "--network=none",
        "localhost/tertium-probe:dev",
        "/pause",
        "--probe",
    )
    ran = subprocess.run([docker, *run], capture_output=True, text=True, check=False)
    if imported.returncode or ran.returncode:
        last = (imported.stderr.decode() + ran.stderr).strip().splitlines()[-1:]
        return f"the Docker engine runs no privileged container ({' '.join(last)})"
    return ""


class KindBackend:
    """One cluster of kind."""

    kind = "kind"

    def __init__(self, name: str) -> None:
        self._name = name
        self._state = state_root() / name
        self._record = Record(self._state / "cluster.json")

    @property
    def kubeconfig(self) -> Path:
        """The administrator's client configuration; the user's own stays as it is."""
        return self._state / "kubeconfig"

    def missing(self) -> list[str]:
        """Return why kind cannot work here."""
        return [f"kind: {why}" for why in [complaint()] if why]

    def up(self, spec: ClusterSpec, steps: Steps, *, keep: bool) -> None:
        """Create the cluster, or see that it is up."""
        if keep:
            raise ClusterError(
                "up --keep: only the local back end can start on the objects of a cluster that was stopped"
            )
        with locked(self._state.parent / f".{self._name}.lock"):
            if self._exists() and self._record.read().get("up"):
                self._record.check_same(spec)
                self._wait(spec, seconds=10)
                steps.say(f"cluster {self._name} is up already, {spec.nodes} nodes Ready")
                return
            if self._exists():
                steps.say("taking away what a run before left behind")
                self._delete()
            self._create(spec, steps)

    def down(self, steps: Steps, *, purge: bool) -> None:
        """Delete the cluster's containers."""
        with locked(self._state.parent / f".{self._name}.lock"):
            self._delete()
            shutil.rmtree(self._state, ignore_errors=True)
        steps.say(f"cluster {self._name} is down")

    def load(self, archives: Sequence[Path], steps: Steps) -> None:
        """Bring archives into every node with kind's own command."""
        for archive in archives:
            with tempfile.TemporaryDirectory() as work:
                if archive.is_dir():
                    path = Path(work, "image.tar")
                    _pack(archive, path)
                else:
                    path = archive
                with steps.step(f"load {archive.name}"):
                    self._kind("load", "image-archive", path, "--name", self._name)

    def status(self) -> str:
        """List the containers."""
        nodes = self._kind("get", "nodes", "--name", self._name).split()
        return "\n".join([f"cluster {self._name}, back end kind", *nodes])

    def service_url(self, service: dict[str, Any]) -> str:
        """Return a URL through the API server."""
        return self._proxy.url(service)

    @cached_property
    def _proxy(self) -> ApiProxy:
        return ApiProxy(self._kubectl_path(), self.kubeconfig)

    def _create(self, spec: ClusterSpec, steps: Steps) -> None:
        archives = images.archives([imagespecs.FAKE_GPU], steps)
        self._record.write(spec, backend=self.kind, up=False)
        config = self._state / "kind.yaml"
        cache_root().mkdir(parents=True, exist_ok=True)
        config.write_text(render(CONFIG.read_text(), spec, cache_root()))
        with steps.step("kind create cluster"):
            where = ("--name", self._name, "--config", config, "--kubeconfig", self.kubeconfig)
            self._kind("create", "cluster", *where, "--wait", "120s")
        self.load(archives, steps)
        addons.apply(self._kubectl_path(), self.kubeconfig, addons.fake_gpus(spec, node_names(spec)))
        self._wait(spec, seconds=60)
        self._record.write(spec, backend=self.kind, up=True)
        steps.say(f"{spec.nodes} nodes Ready, GPUs offered")

    def _wait(self, spec: ClusterSpec, *, seconds: float) -> None:
        end = time.monotonic() + seconds
        while True:
            listed = json.loads(
                sh(self._kubectl_path(), "--kubeconfig", self.kubeconfig, "get", "nodes", "-o", "json")
            )
            nodes = {node["metadata"]["name"]: node for node in listed["items"]}
            wanted = zip(node_names(spec), spec.gpus, strict=True)
            wrong = [
                f"node {name} {why}"
                for name, g in wanted
                if (why := node_complaint(nodes.get(name), g.count))
            ]
            if not wrong:
                return
            if time.monotonic() > end:
                raise ClusterError(f"cluster {self._name}: {wrong[0]} after {seconds:.0f} s")
            time.sleep(0.5)

    def _exists(self) -> bool:
        return self._name in self._kind("get", "clusters").split()

    def _delete(self) -> None:
        self._kind("delete", "cluster", "--name", self._name, "--kubeconfig", self.kubeconfig)

    @staticmethod
    def _kind(*args: str | Path) -> str:
        return sh(binaries.build([binaries.KIND], Steps())["kind"], *args)

    @staticmethod
    def _kubectl_path() -> Path:
        return binaries.build([binaries.KUBE], Steps())["kubectl"]


def _pack(layout: Path, archive: Path) -> None:
    manifests = [
        {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest}
        | {"size": (layout / "blobs" / digest.replace(":", "/")).stat().st_size}
        | {"annotations": {"io.containerd.image.name": name}}
        for name, digest in contents(layout).items()
    ]
    with archive.open("wb") as out:
        write_archive(out, layout, manifests)

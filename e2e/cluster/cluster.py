"""A cluster as tests, demo and benchmarks use it."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from e2e.cluster import backends, binaries, hosttools, images, imagespecs
from e2e.cluster.backend import Backend
from e2e.cluster.errors import ClusterError
from e2e.cluster.local import policies
from e2e.cluster.local.backend import LocalBackend
from e2e.cluster.local.faults import Faults
from e2e.cluster.progress import Steps
from e2e.cluster.shell import sh
from e2e.cluster.spec import build_spec, check_name


class Cluster:
    """A running cluster, by its name.

    Every method raises ClusterError with a sentence for the user. `kubectl` and `helm` raise its kind
    CommandFailed, a subprocess.CalledProcessError, which holds what the program printed.
    """

    def __init__(self, name: str, backend: Backend, *, quiet: bool = False) -> None:
        self.name = name
        self.backend = backend
        self._steps = Steps(quiet=quiet)

    @classmethod
    def up(
        cls,
        name: str = "tertium",
        *,
        backend: str = "auto",
        nodes: int = 2,
        gpus: int | None = None,
        gpu_nodes: Sequence[str] = (),
        mounts: Sequence[str] = (),
        keep: bool = False,
        quiet: bool = False,
    ) -> "Cluster":
        """Start a cluster, or take the one that is up; the arguments are those of the command line."""
        spec = build_spec(name, nodes=nodes, gpus=gpus, gpu_nodes=gpu_nodes, mounts=mounts)
        cluster = cls(name, backends.choose(backend, name), quiet=quiet)
        if missing := cluster.backend.missing():
            lines = "\n".join(f"  {line}" for line in missing)
            raise ClusterError(f"a {cluster.backend.kind} cluster needs what this machine lacks:\n{lines}")
        cluster.backend.up(spec, cluster._steps, keep=keep)
        return cluster

    @classmethod
    def get(cls, name: str = "tertium", *, backend: str = "auto", quiet: bool = False) -> "Cluster":
        """Return the cluster `name`, of whatever back end it was started with."""
        return cls(check_name(name), backends.existing(backend, name), quiet=quiet)

    @property
    def kubeconfig(self) -> Path:
        """The administrator's client configuration."""
        return self.backend.kubeconfig

    def down(self, *, purge: bool = False) -> None:
        """Stop it and leave no trace but loaded images; with `purge` none at all."""
        self.backend.down(self._steps, purge=purge)

    def kubectl(self, *args: str | Path, input: str | None = None) -> str:
        """Run kubectl as the administrator and return what it printed."""
        return self._run(binaries.KUBE, "kubectl", args, input)

    def helm(self, *args: str | Path, input: str | None = None) -> str:
        """Run helm as the administrator and return what it printed."""
        return self._run(binaries.HELM, "helm", args, input)

    def load(self, *archives: str | Path) -> None:
        """Bring image archives into every node."""
        self._require_up()
        self.backend.load([Path(archive) for archive in archives], self._steps)

    def images(self, *names: str) -> None:
        """Build images of the repository, all by default, and bring them into every node."""
        self._require_up()
        specs = [imagespecs.named(name) for name in names] or list(imagespecs.PRODUCT)
        self.backend.load(images.archives(specs, self._steps), self._steps)

    def redeploy(self, *names: str, namespace: str = "tertium-system") -> None:
        """Bring a changed operator, or the images named, into the cluster: build, load, restart its users."""
        names = names or ("operator",)
        self.images(*names)
        tags = {imagespecs.named(name).tag for name in names}
        workloads = json.loads(self.kubectl("-n", namespace, "get", "deployments", "-o", "json"))["items"]
        for workload in workloads:
            pod = workload["spec"]["template"]["spec"]
            if tags & {c["image"] for c in pod["containers"] + pod.get("initContainers", [])}:
                name = f"deployment/{workload['metadata']['name']}"
                self.kubectl("-n", namespace, "rollout", "restart", name)
                self.kubectl("-n", namespace, "rollout", "status", name, "--timeout=120s")
                self._steps.say(f"{name} runs the new image")

    def service_url(self, namespace: str, name: str) -> str:
        """Return the URL at which this machine reaches the first port of a Service.

        Raises:
            ClusterError: the back end has no route to it.
        """
        service = json.loads(self.kubectl("-n", namespace, "get", "service", name, "-o", "json"))
        return self.backend.service_url(service)

    @property
    def faults(self) -> Faults:
        """Ways to break it.

        Raises:
            ClusterError: only the local back end has them.
        """
        if not isinstance(self.backend, LocalBackend):
            raise ClusterError(
                f"cluster {self.name}: faults need the local back end, this one is {self.backend.kind}"
            )
        return Faults(self.backend)

    @contextmanager
    def policies_enforced(self) -> Iterator[None]:
        """Have NetworkPolicies enforced for the length of the context.

        Raises:
            ClusterError: only the local back end can begin and end that, or it failed.
        """
        if not isinstance(self.backend, LocalBackend):
            raise ClusterError(f"cluster {self.name}: whether policies are enforced is up to its network")
        with policies.enforced(self.backend, self._steps):
            yield

    def _run(
        self, program: binaries.GoProgram, name: str, args: Sequence[str | Path], input: str | None
    ) -> str:
        self._require_up()
        # An external cluster has its own release, for which its owner has the right kubectl.
        found = hosttools.find(name) if self.backend.kind == "external" else None
        path = found or binaries.build([program], self._steps)[name]
        return sh(path, *args, input=input, env={"KUBECONFIG": str(self.kubeconfig)})

    def _require_up(self) -> None:
        if not self.kubeconfig.exists():
            raise ClusterError(
                f"cluster {self.name}: not up; run `python -m e2e.cluster up --name {self.name}`"
            )

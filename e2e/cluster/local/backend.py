"""The local back end: up, down, load and status of a cluster of plain processes."""

import concurrent.futures
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from e2e.cluster import addons, binaries, hosttools, images, imagespecs, slots
from e2e.cluster.errors import ClusterError
from e2e.cluster.local import cgroup, health, network, node
from e2e.cluster.local import images as node_images
from e2e.cluster.local.api import Api
from e2e.cluster.local.layout import Layout, check_state
from e2e.cluster.local.processes import Processes
from e2e.cluster.local.start import Start
from e2e.cluster.progress import Steps
from e2e.cluster.shell import locked, sh
from e2e.cluster.slots import Addresses
from e2e.cluster.spec import ClusterSpec
from e2e.cluster.state import Record, state_root

_NODE_IMAGES: Final = (imagespecs.PAUSE, imagespecs.FAKE_GPU)


class LocalBackend:
    """One cluster of plain processes."""

    kind = "local"

    def __init__(self, name: str) -> None:
        self.layout = Layout(name=name, state=state_root() / name)
        check_state(self.layout)
        self._record = Record(self.layout.record)

    @property
    def kubeconfig(self) -> Path:
        """The administrator's client configuration."""
        return self.layout.kubeconfig

    @property
    def spec(self) -> ClusterSpec:
        """What the running cluster was made from.

        Raises:
            ClusterError: it is not up.
        """
        return self._record.up_spec(self.layout.name)

    @property
    def addresses(self) -> Addresses:
        """The addresses of the running cluster.

        Raises:
            ClusterError: there is none.
        """
        _ = self.spec
        return Addresses(self._record.read()["prefix"])

    def missing(self) -> list[str]:
        """Return what this machine lacks."""
        return hosttools.missing(hosttools.LOCAL)

    def up(self, spec: ClusterSpec, steps: Steps, *, keep: bool) -> None:
        """Start the cluster, or see that it is up."""
        layout = self.layout
        _check_mounts(spec)
        _check_filesystem(layout.state.parent)
        with locked(layout.state.parent / f".{layout.name}.lock"):
            if self._is_up(spec, steps):
                return
            programs = binaries.build(binaries.LOCAL_CLUSTER, steps)
            # A control plane alone needs no image, and no wait for somebody who builds one.
            archives = images.archives(_NODE_IMAGES, steps) if spec.nodes else []
            self._clear(steps, keep=keep)
            try:
                Start(layout, spec, programs, steps, keep=keep).run(archives)
            except BaseException:
                # Half a cluster serves nobody; the logs stay.
                self._stop()
                raise

    def down(self, steps: Steps, *, purge: bool, keep: bool = False) -> None:
        """Stop everything; with `keep`, objects and volumes stay for `up --keep`."""
        with locked(self.layout.state.parent / f".{self.layout.name}.lock"):
            self._stop()
            if not keep:
                _forget(self.layout)
            if purge:
                shutil.rmtree(self.layout.state, ignore_errors=True)
            slots.release(self.layout.name)
        steps.say(f"cluster {self.layout.name} is down")

    def load(self, archives: Sequence[Path], steps: Steps) -> None:
        """Import into all nodes at once."""
        nodes = range(len(self.spec.gpus))
        with concurrent.futures.ThreadPoolExecutor() as pool:
            imported = list(pool.map(lambda i: node_images.load(self.layout, i, archives), nodes))
        for archive in archives:
            count = sum(archive in done for done in imported)
            steps.say(
                f"{archive.name}: {f'imported into {count} nodes' if count else 'already in every node'}"
            )

    def service_url(self, service: dict[str, Any]) -> str:
        """Return the cluster IP's URL: this machine has a route to it."""
        return f"http://{service['spec']['clusterIP']}:{service['spec']['ports'][0]['port']}"

    def status(self) -> str:
        """List the processes with their memory."""
        rows = [f"cluster {self.layout.name}, back end local, state in {self.layout.state}"]
        rows += [
            f"{mib:7d} MiB  {pid:7d}  {cgroup.program_of(pid)}"
            for pid in sorted(Processes(self.layout).group.members())
            if (mib := _resident_mib(pid)) is not None
        ]
        return "\n".join(rows)

    def _is_up(self, spec: ClusterSpec, steps: Steps) -> bool:
        if not self._record.read().get("up") or not Processes(self.layout).group.members():
            return False
        self._remount(spec, steps)
        self._record.check_same(spec)
        if complaint := self.unhealthy(seconds=5):
            steps.say(f"cluster {self.layout.name} is up but broken ({complaint}): starting it afresh")
            return False
        steps.say(f"cluster {self.layout.name} is up already, {spec.nodes} nodes Ready")
        return True

    def _remount(self, spec: ClusterSpec, steps: Steps) -> None:
        """Give a running cluster other mounts: only the device plugin knows them, so only it restarts."""
        there = self.spec
        if not spec.mounts or there == spec or replace(there, mounts=spec.mounts) != spec:
            return
        kubectl = binaries.build([binaries.KUBE], steps)["kubectl"]
        names = [self.layout.node(i) for i in range(spec.nodes)]
        addons.apply(kubectl, self.layout.kubeconfig, addons.fake_gpus(spec, names))
        plugin = ("-n", "kube-system", "daemonset/fake-gpu")
        for words in (("restart",), ("status", "--timeout=60s")):
            sh(kubectl, "--kubeconfig", self.layout.kubeconfig, "rollout", *words, *plugin)
        self._record.write(spec, backend=self.kind, up=True, prefix=self.addresses.prefix)
        steps.say("containers with a GPU see other folders of this machine from now on")

    def unhealthy(self, *, seconds: float) -> str:
        """Say what is wrong with the running cluster for longer than `seconds`; empty when nothing is."""
        spec, group, api = (
            self.spec,
            Processes(self.layout).group,
            Api(self.layout, self.addresses),
        )
        end = time.monotonic() + seconds
        while True:
            complaint = health.complaint(self.layout, spec, group, api)
            if not complaint or time.monotonic() > end:
                return complaint
            time.sleep(0.1)

    def _clear(self, steps: Steps, *, keep: bool) -> None:
        if Processes(self.layout).group.members():
            steps.say("taking away what a run before left behind")
        self._stop()
        if not keep:
            _forget(self.layout)

    def _stop(self) -> None:
        self._record.mark_down()
        group = Processes(self.layout).group
        group.kill()
        network.down(self.layout)
        group.remove()


def _forget(layout: Layout) -> None:
    """Remove all that a cluster knew, but for its images and logs."""
    for path in (layout.etcd, layout.volumes, layout.pki, layout.conf, layout.record, layout.kubeconfig):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for home in layout.state.glob("n[0-9]*"):
        for path in node.volatile(home):
            shutil.rmtree(path, ignore_errors=True)


def _check_mounts(spec: ClusterSpec) -> None:
    for mount in spec.mounts:
        if not Path(mount.host).is_dir():
            raise ClusterError(f"--gpu-mount {mount.host}:{mount.container}: {mount.host} is no directory")


def _check_filesystem(root: Path) -> None:
    """Refuse a disk on which no container image can be unpacked, as a container's own root is one."""
    root.mkdir(parents=True, exist_ok=True)
    kind = sh("stat", "-f", "-c", "%T", root).strip()
    if kind in ("overlayfs", "nfs", "fuseblk", "fuse"):
        raise ClusterError(
            f"state directory {root}: lies on {kind}, where overlayfs does not work;"
            " set TERTIUM_STATE to a directory on ext4 or xfs (in a container: on a volume)"
        )


def _resident_mib(pid: int) -> int | None:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) // 1024
    except (OSError, IndexError):
        return None

"""One start of a local cluster: what begins when, and what waits for what."""

import concurrent.futures
import functools
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

from e2e.cluster import addons, hosttools, slots
from e2e.cluster.errors import ClusterError
from e2e.cluster.local import cgroup, control, network, node, pki
from e2e.cluster.local import images as node_images
from e2e.cluster.local.api import Api, node_complaint
from e2e.cluster.local.layout import CONTROL_GROUP, Layout, node_group
from e2e.cluster.local.processes import Processes
from e2e.cluster.progress import Steps
from e2e.cluster.spec import ClusterSpec
from e2e.cluster.state import Record


class Start:
    """One start of a cluster, from nothing running to every node Ready."""

    def __init__(
        self, layout: Layout, spec: ClusterSpec, programs: Mapping[str, Path], steps: Steps, *, keep: bool
    ) -> None:
        self._layout, self._spec, self._programs, self._steps = layout, spec, programs, steps
        self._record = Record(layout.record)
        record = self._record.read() if keep else {}
        if record and (last := ClusterSpec.from_json(record["spec"])) != spec:
            raise ClusterError(f"up --keep: the last run had {last.words()}; start without --keep")
        self._keep = bool(record) and layout.kubeconfig.exists()
        self._addresses = slots.claim(layout.name, layout.state, record.get("prefix"))
        if self._keep and self._addresses.prefix != record["prefix"]:
            raise ClusterError(
                f"up --keep: the addresses {record['prefix']}.0.0/16 are in use by now; start without --keep"
            )
        self._processes = Processes(layout)

    def run(self, archives: Sequence[Path]) -> None:
        """Start everything in the order of need, and as much as possible at once."""
        self._prepare()
        with concurrent.futures.ThreadPoolExecutor() as pool:
            keys = pool.submit(self._make_keys)
            self._control = self._start_control_namespace()
            holders = self._start_containerds()
            network.up(self._layout, self._addresses, self._control, holders)
            keys.result()
            imports = [
                pool.submit(node_images.load, self._layout, i, archives) for i in range(self._spec.nodes)
            ]
            self._start_store_and_api()
            for done in imports:
                done.result()
        self._steps.say("keys, network, containerd, images")
        api = Api(self._layout, self._addresses)
        self._processes.wait("the API server", api.ready)
        self._steps.say("API server ready")
        self._start_nodes(holders)
        self._start_controllers()
        self._apply_addons()
        self._processes.wait("the service account `default`", api.has_default_account)
        for i, gpus in enumerate(self._spec.gpus):
            name = self._layout.node(i)
            self._processes.wait(f"node {name}", functools.partial(_is_complete, api, name, gpus.count))
        self._steps.say(f"{self._spec.nodes} nodes Ready, GPUs offered")
        self._record.write(self._spec, backend="local", up=True, prefix=self._addresses.prefix)

    def _prepare(self) -> None:
        layout, spec = self._layout, self._spec
        for directory in (layout.conf, layout.log, layout.volumes, layout.state / "bin"):
            directory.mkdir(parents=True, exist_ok=True)
        self._record.write(spec, backend="local", up=False, prefix=self._addresses.prefix)
        slots.ensure_mountpoints(control.MOUNTPOINTS)
        (layout.conf / "Corefile").write_text(control.corefile(layout, self._addresses))
        # Empty: a pod's names are the cluster's alone.
        (layout.conf / "resolv.conf").write_text("")
        (layout.conf / "volume-plugins").mkdir(exist_ok=True)
        (layout.conf / "audit.json").write_text(control.audit_policy())
        self._processes.group.make(CONTROL_GROUP)
        for i in range(spec.nodes):
            self._prepare_node(i)

    def _prepare_node(self, i: int) -> None:
        layout, home = self._layout, self._layout.home(i)
        for directory in node.directories(home):
            directory.mkdir(parents=True, exist_ok=True)
        for path, value in node.TUNABLES.items():
            (home / "sysctl" / path.replace("/", ".")).write_text(f"{value}\n")
        (home / "containerd.toml").write_text(
            node.containerd_config(home, layout.socket(i), hosttools.cni_directory())
        )
        (home / "cni" / "10-pods.conflist").write_text(node.cni_config(home, self._addresses.node_pods(i)))
        (layout.conf / f"kubelet-{i}.json").write_text(node.kubelet_config(layout, self._addresses, i))
        (layout.conf / f"proxy-{i}.json").write_text(node.proxy_config(layout, self._addresses, i))
        self._processes.group.make(node_group(i))

    def _make_keys(self) -> None:
        if not self._keep:
            pki.make(self._layout, self._addresses, self._spec.nodes)

    def _start_control_namespace(self) -> int:
        """Start the process that holds the control plane's network namespace; return its pid."""
        pid = self._processes.start("control", CONTROL_GROUP, ["unshare", "-n", str(self._programs["pause"])])
        own = os.readlink("/proc/self/ns/net")
        self._processes.wait(
            "the control plane's namespace", lambda: os.readlink(f"/proc/{pid}/ns/net") != own
        )
        return pid

    def _start_control(self, name: str, argv: Sequence[str]) -> None:
        self._processes.start(name, CONTROL_GROUP, ["nsenter", "-t", str(self._control), "-n", *argv])

    def _start_containerds(self) -> list[int]:
        """Start every node's containerd, the process that holds the node's namespaces; return their pids."""
        indexes = range(self._spec.nodes)
        pids = [self._start_containerd(i) for i in indexes]
        for i in indexes:
            self._wait_for_containerd(i)
            if node_images.remove_containers(self._layout, i):
                # They are of a cluster that was killed; this containerd has read of them and would tell.
                self._processes.forget(f"containerd-{i}")
                cgroup.stop(pids[i])
                pids[i] = self._start_containerd(i)
                self._wait_for_containerd(i)
        return pids

    def _start_containerd(self, i: int) -> int:
        home = self._layout.home(i)
        # Sockets and mounts of the last run; containerd would wait for the shims behind them.
        shutil.rmtree(home / "run", ignore_errors=True)
        (home / "run").mkdir()
        argv = node.containerd(home, self._layout, hosttools.path("containerd"))
        return self._processes.start(f"containerd-{i}", node_group(i), argv)

    def _wait_for_containerd(self, i: int) -> None:
        self._processes.wait(
            f"containerd of node {i}", lambda: bool(node_images.ctr(self._layout, i, "version"))
        )

    def _start_store_and_api(self) -> None:
        layout, at, programs = self._layout, self._addresses, self._programs
        self._start_control("etcd", control.etcd(programs["etcd"], layout, at))
        self._start_control("kube-apiserver", control.apiserver(programs["kube-apiserver"], layout, at))

    def _start_controllers(self) -> None:
        layout, at, programs = self._layout, self._addresses, self._programs
        manager, scheduler = "kube-controller-manager", "kube-scheduler"
        self._start_control(manager, control.controller_manager(programs[manager], layout, at))
        self._start_control(scheduler, control.scheduler(programs[scheduler], layout, at))
        self._start_control("coredns", control.coredns(programs["coredns"], layout))

    def _start_nodes(self, holders: Sequence[int]) -> None:
        for i, holder in enumerate(holders):
            for program in ("kubelet", "kube-proxy"):
                argv = node.command(program, self._programs[program], self._layout, self._addresses, i)
                self._processes.start(f"{program}-{i}", node_group(i), [*node.inside(holder), *argv])

    def _apply_addons(self) -> None:
        base = Template((addons.MANIFESTS / "local.yaml").read_text()).substitute(
            dns_service=self._addresses.dns_service, control=self._addresses.control
        )
        names = [self._layout.node(i) for i in range(self._spec.nodes)]
        kubectl = self._programs["kubectl"]
        gpus = addons.fake_gpus(self._spec, names) if names else ""
        addons.apply(kubectl, self._layout.kubeconfig, base + gpus)
        link = self._layout.state / "bin" / "kubectl"
        link.unlink(missing_ok=True)
        link.symlink_to(kubectl)


def _is_complete(api: Api, name: str, gpus: int) -> bool:
    if complaint := node_complaint(api.nodes().get(name), gpus):
        raise ClusterError(complaint)
    return True

"""Breaking a local cluster on purpose, as tests of failure need it, and mending it again."""

import signal

from e2e.cluster import binaries
from e2e.cluster.local import cgroup, control, node
from e2e.cluster.local.backend import LocalBackend
from e2e.cluster.local.layout import CONTROL_GROUP, node_group
from e2e.cluster.local.processes import Processes
from e2e.cluster.progress import Steps


class Faults:
    """Faults of one running cluster; nodes are counted from 0."""

    def __init__(self, backend: LocalBackend) -> None:
        self._backend = backend
        self._processes = Processes(backend.layout)

    def freeze_kubelet(self, index: int) -> None:
        """Stop a kubelet without ending it: after 20 s the node is NotReady, while its pods go on."""
        self._signal(node_group(index), "kubelet", signal.SIGSTOP)

    def thaw_kubelet(self, index: int) -> None:
        """Let a frozen kubelet go on."""
        self._signal(node_group(index), "kubelet", signal.SIGCONT)

    def kill_kubelet(self, index: int) -> None:
        """Kill a kubelet; its pods go on."""
        self._signal(node_group(index), "kubelet", signal.SIGKILL)

    def start_kubelet(self, index: int) -> None:
        """Start a kubelet that was killed."""
        layout, group = self._backend.layout, node_group(index)
        holder = self._processes.find(group, "containerd")
        binary = binaries.build([binaries.KUBE], Steps())["kubelet"]
        argv = node.command("kubelet", binary, layout, self._backend.addresses, index)
        self._processes.start(f"kubelet-{index}", group, [*node.inside(holder), *argv])

    def freeze_api_server(self) -> None:
        """Stop the API server without ending it: connections hang, as behind a broken network."""
        self._signal(CONTROL_GROUP, "kube-apiserver", signal.SIGSTOP)

    def thaw_api_server(self) -> None:
        """Let the frozen API server go on."""
        self._signal(CONTROL_GROUP, "kube-apiserver", signal.SIGCONT)

    def restart_api_server(self) -> None:
        """Kill the API server and start it again; it answers after a few seconds, every watch is cut."""
        layout = self._backend.layout
        cgroup.stop(self._processes.find(CONTROL_GROUP, "kube-apiserver"))
        holder = self._processes.find(CONTROL_GROUP, "pause")
        binary = binaries.build([binaries.KUBE], Steps())["kube-apiserver"]
        argv = control.apiserver(binary, layout, self._backend.addresses)
        enter = ["nsenter", "-t", str(holder), "-n"]
        self._processes.start("kube-apiserver", CONTROL_GROUP, [*enter, *argv])

    def freeze_store(self) -> None:
        """Stop etcd without ending it: the API server accepts requests and cannot answer them."""
        self._signal(CONTROL_GROUP, "etcd", signal.SIGSTOP)

    def thaw_store(self) -> None:
        """Let the frozen etcd go on."""
        self._signal(CONTROL_GROUP, "etcd", signal.SIGCONT)

    def _signal(self, group: str, program: str, number: signal.Signals) -> None:
        cgroup.send(self._processes.find(group, program), number)

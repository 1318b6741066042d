"""Enforcing NetworkPolicies, which the network of a local cluster does not do by itself, by kube-router."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from e2e.cluster import binaries, hosttools
from e2e.cluster.local import cgroup, node
from e2e.cluster.local.backend import LocalBackend
from e2e.cluster.local.layout import node_group
from e2e.cluster.local.processes import Processes
from e2e.cluster.progress import Steps
from e2e.cluster.shell import sh

# Two pods of one node are neighbours on a bridge: their packets pass the rules only if it is told so.
_BEGIN = """[ -d /proc/sys/net/bridge ] || modprobe br_netfilter
echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables"""
# Nobody else has rules of this kind in a node's network: kube-proxy's are nftables of its own.
_END = "iptables -F && iptables -X && ipset destroy && echo 0 > /proc/sys/net/bridge/bridge-nf-call-iptables"


@contextmanager
def enforced(backend: LocalBackend, steps: Steps) -> Iterator[None]:
    """Have every node of a running cluster enforce NetworkPolicies for the length of the context.

    Raises:
        ClusterError: a program lacks and cannot be built or installed, or it died.
    """
    hosttools.install(hosttools.POLICIES, steps)
    program = binaries.build([binaries.KUBE_ROUTER], steps)["kube-router"]
    processes = Processes(backend.layout)
    with ExitStack() as stack:
        for index in range(backend.spec.nodes):
            group, name = node_group(index), f"kube-router-{index}"
            enter = node.inside(processes.find(group, "containerd"))
            sh(*enter, "sh", "-c", _BEGIN)
            stack.callback(sh, *enter, "sh", "-c", _END)
            pid = processes.start(name, group, [*enter, str(program), *_options(backend, index)])
            stack.callback(cgroup.stop, pid)
            processes.wait(name, partial(_works, backend.layout.log / f"{name}.log"))
        steps.say("NetworkPolicies are enforced")
        yield


def _works(log: Path) -> bool:
    return "Starting network policy controller" in log.read_text()


def _options(backend: LocalBackend, index: int) -> list[str]:
    return [
        *("--run-firewall", "--run-router=false", "--run-service-proxy=false", "--run-loadbalancer=false"),
        f"--kubeconfig={backend.layout.kubeconfig}",
        f"--hostname-override={backend.layout.node(index)}",
        f"--service-cluster-ip-range={backend.addresses.services}",
        "--health-port=0",
    ]

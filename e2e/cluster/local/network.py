"""The network of a local cluster: a control plane and nodes on one bridge, and one cable to the machine.

The bridge and the control plane have a network namespace of their own, as each node has. So the machine
forwards and filters no packet of the cluster, whatever its firewall says, and no rule or sysctl changes.
All of it ends with the processes in the namespaces; the cable is the only thing to remove.
"""

import json
from collections.abc import Iterable, Sequence

from e2e.cluster.local.layout import Layout
from e2e.cluster.shell import sh
from e2e.cluster.slots import Addresses


def up(layout: Layout, addresses: Addresses, control: int, nodes: Sequence[int]) -> None:
    """Join the machine with the namespaces of the process `control` and of the processes `nodes`."""
    cable = layout.cable
    _ip(
        f"link add {cable} type veth peer name machine netns {control}",
        f"addr add {addresses.machine}/24 dev {cable}",
        f"link set {cable} up",
        *_routes(addresses, range(len(nodes))),
        # The first node's kube-proxy translates for the machine, which so needs no rule of its own.
        f"route add {addresses.services} via {addresses.node(0)}",
    )
    _ip(
        "link set lo up",
        "link add nodes type bridge",
        f"addr add {addresses.control}/24 dev nodes",
        "link set nodes up",
        "link set machine master nodes up",
        *(f"link add node{i} type veth peer name eth0 netns {pid}" for i, pid in enumerate(nodes)),
        *(f"link set node{i} master nodes up" for i in range(len(nodes))),
        *_routes(addresses, range(len(nodes))),
        f"route add {addresses.services} via {addresses.node(0)}",
        inside=control,
    )
    for i, pid in enumerate(nodes):
        _ip(
            "link set lo up",
            f"addr add {addresses.node(i)}/24 dev eth0",
            "link set eth0 up",
            f"route add default via {addresses.control}",
            *_routes(addresses, (j for j in range(len(nodes)) if j != i)),
            inside=pid,
        )


def down(layout: Layout) -> None:
    """Remove the machine's end of the cable; addresses and routes go with it."""
    for link in json.loads(sh("ip", "-j", "link")):
        if link["ifname"].startswith(layout.cable):
            # It may go by itself meanwhile, with the namespace of its other end.
            sh("ip", "link", "del", link["ifname"], check=False)


def _routes(addresses: Addresses, indexes: Iterable[int]) -> list[str]:
    return [f"route add {addresses.node_pods(i)} via {addresses.node(i)}" for i in indexes]


def _ip(*commands: str, inside: int | None = None) -> None:
    enter = ["nsenter", "-t", str(inside), "-n"] if inside else []
    sh(*enter, "ip", "-batch", "-", input="\n".join(commands) + "\n")

"""What a running local cluster lacks, in words."""

from e2e.cluster.local import cgroup, control, node
from e2e.cluster.local.api import Api, node_complaint
from e2e.cluster.local.layout import CONTROL_GROUP, Layout, node_group
from e2e.cluster.spec import ClusterSpec


def complaint(layout: Layout, spec: ClusterSpec, group: cgroup.Cgroup, api: Api) -> str:
    wanted = {CONTROL_GROUP: control.PROGRAMS} | {node_group(i): node.PROGRAMS for i in range(spec.nodes)}
    for where, programs in wanted.items():
        running = {cgroup.program_of(pid) for pid in group.members(where)}
        if gone := [program for program in programs if program not in running]:
            return f"{gone[0]} of {where} is not running"
    try:
        nodes = api.nodes()
    except OSError as silent:
        return f"the API server does not answer: {silent}"
    for i, gpus in enumerate(spec.gpus):
        if lacking := node_complaint(nodes.get(layout.node(i)), gpus.count):
            return f"node {layout.node(i)} {lacking}"
    return ""

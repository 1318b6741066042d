"""The command line of the cluster tool."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from e2e.cluster import backends, binaries, envoy_filter, hosttools, imagespecs
from e2e.cluster.cluster import Cluster
from e2e.cluster.errors import ClusterError
from e2e.cluster.progress import Steps

_DESCRIPTION = """\
Run a real Kubernetes cluster on this machine and bring images into it.

back ends:
  local      plain processes in namespaces of this machine (root, no container engine, no registry)
  kind       kind, where a Docker engine answers that allows privileged containers
  external   a cluster that is there: the one of $KUBECONFIG
  auto       kind where it can work, else local (default; or what $TERTIUM_BACKEND names)

examples:
  python -m e2e.cluster up
  python -m e2e.cluster images operator gateway
  export KUBECONFIG=$(python -m e2e.cluster kubeconfig)
  python -m e2e.cluster down

environment:
  TERTIUM_STATE    directory of the clusters' state: a short path (default /var/lib/tertium-e2e)
  TERTIUM_CACHE    directory of built things (default ~/.cache/tertium); safe to delete
  TERTIUM_BUILDER  docker or buildah (default: docker where an engine answers)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status."""
    args = _parser().parse_args(argv)
    try:
        args.run(args)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m e2e.cluster",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--name", default="tertium", help="name of the cluster (default: tertium)")
    common.add_argument(
        "--backend",
        choices=backends.KINDS,
        default="auto",
        help="see above (default: auto)",
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    up = verbs.add_parser("up", parents=[common], help="start a cluster; nothing to do if it is up")
    up.add_argument(
        "--nodes", type=int, default=2, help="nodes that run pods (default: 2; 0: a control plane alone)"
    )
    up.add_argument("--gpus", type=int, metavar="COUNT", help="fake GPUs of every node (default: 4)")
    up.add_argument(
        "--gpu-node",
        action="append",
        default=[],
        metavar="NODE=COUNT[xPRODUCT:MIB]",
        help="fake GPUs of one node, such as 1=2xFake-GPU-80GB:81920 (default: 24 and 2 GB in turn)",
    )
    up.add_argument(
        "--gpu-mount",
        action="append",
        default=[],
        metavar="HOST:CONTAINER",
        help="a folder of this machine that containers with a GPU see read-only",
    )
    up.add_argument("--keep", action="store_true", help="keep the objects of the last run (local back end)")
    up.add_argument("--install", action="store_true", help="install missing programs with apt first (root)")
    up.set_defaults(run=_up)

    down = verbs.add_parser("down", parents=[common], help="stop a cluster, whatever state it is in")
    down.add_argument("--purge", action="store_true", help="forget loaded images and logs as well")
    down.set_defaults(run=lambda a: Cluster.get(a.name, backend=a.backend).down(purge=a.purge))

    load = verbs.add_parser("load", parents=[common], help="bring image archives into every node")
    load.add_argument("archive", nargs="+", type=Path, help="a file of `docker save` or an OCI archive")
    load.set_defaults(run=lambda a: Cluster.get(a.name, backend=a.backend).load(*a.archive))

    names = ", ".join(spec.name for spec in imagespecs.PRODUCT)
    images = verbs.add_parser("images", parents=[common], help="build images of the repository and load them")
    images.add_argument("image", nargs="*", help=f"default: {names}")
    images.set_defaults(run=lambda a: Cluster.get(a.name, backend=a.backend).images(*a.image))

    redeploy = verbs.add_parser(
        "redeploy", parents=[common], help="images, then restart the deployments that use them"
    )
    redeploy.add_argument("image", nargs="*", help="default: operator")
    redeploy.set_defaults(run=lambda a: Cluster.get(a.name, backend=a.backend).redeploy(*a.image))

    status = verbs.add_parser("status", parents=[common], help="show processes and nodes")
    status.set_defaults(run=_status)

    build = verbs.add_parser("build", help="build all programs into the cache")
    build.set_defaults(run=_build)

    build_filter = verbs.add_parser("filter", help="build the gateway's filter into the cache")
    build_filter.set_defaults(run=lambda _: print(envoy_filter.build()))

    kubeconfig = verbs.add_parser(
        "kubeconfig", parents=[common], help="print the path of the client configuration"
    )
    kubeconfig.set_defaults(run=_kubeconfig)
    return parser


def _up(args: argparse.Namespace) -> None:
    if args.install:
        hosttools.install(hosttools.LOCAL, Steps())
    cluster = Cluster.up(
        args.name,
        backend=args.backend,
        nodes=args.nodes,
        gpus=args.gpus,
        gpu_nodes=args.gpu_node,
        mounts=args.gpu_mount,
        keep=args.keep,
    )
    print(f"export KUBECONFIG={cluster.kubeconfig}")


def _kubeconfig(args: argparse.Namespace) -> None:
    path = Cluster.get(args.name, backend=args.backend).kubeconfig
    if not path.exists():
        raise ClusterError(f"cluster {args.name}: not up; run `python -m e2e.cluster up --name {args.name}`")
    print(path)


def _status(args: argparse.Namespace) -> None:
    cluster = Cluster.get(args.name, backend=args.backend)
    print(cluster.backend.status())
    if cluster.kubeconfig.exists():
        print(cluster.kubectl("get", "nodes", "-o", "wide"), end="")


def _build(_: argparse.Namespace) -> None:
    for name, path in binaries.build([*binaries.LOCAL_CLUSTER, binaries.HELM], Steps()).items():
        print(f"{name} {path}")

"""What a cluster should be: its name, its nodes and their GPUs. Pure; knows no back end."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from e2e.cluster.errors import ClusterError

MAX_NODES: Final = 60
_NAME: Final = re.compile(r"[a-z]([-a-z0-9]{0,18}[a-z0-9])?")
_GPUS: Final = re.compile(
    r"(?P<node>\d+)=(?P<count>\d+)(x(?P<product>[A-Za-z0-9][-._A-Za-z0-9]*):(?P<memory>\d+))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpus:
    """The GPUs of one node, all of one product; `memory_mib` is each one's memory."""

    count: int
    product: str
    memory_mib: int


# Two sizes by default, so that one model fits the first node whole and the second only in parts.
DEFAULT_GPUS: Final = (
    Gpus(count=4, product="Fake-GPU-24GB", memory_mib=24576),
    Gpus(count=4, product="Fake-GPU-2GB", memory_mib=2048),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A folder of the machine that every container with a GPU sees read-only."""

    host: str
    container: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSpec:
    """The wish that `up` fulfils; two equal specs are the same cluster."""

    name: str
    gpus: tuple[Gpus, ...]
    mounts: tuple[Mount, ...] = ()

    @property
    def nodes(self) -> int:
        """How many nodes run pods."""
        return len(self.gpus)

    def words(self) -> str:
        """Return the spec for people."""
        gpus = ", ".join(f"{g.count} x {g.product}" for g in self.gpus)
        mounts = "".join(f", {m.host} at {m.container}" for m in self.mounts)
        return f"{self.nodes} nodes ({gpus}{mounts})"

    def to_json(self) -> dict[str, Any]:
        """Return plain data that `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ClusterSpec":
        """Read what `to_json` wrote."""
        return cls(
            name=data["name"],
            gpus=tuple(Gpus(**gpus) for gpus in data["gpus"]),
            mounts=tuple(Mount(**mount) for mount in data["mounts"]),
        )


def check_name(name: str) -> str:
    """Return `name` if it can be part of host, interface and cgroup names.

    Raises:
        ClusterError: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise ClusterError(
            f"cluster name {name!r}: expected at most 20 lower-case letters, digits and '-', a letter first"
        )
    return name


def build_spec(
    name: str,
    *,
    nodes: int = 2,
    gpus: int | None = None,
    gpu_nodes: Sequence[str] = (),
    mounts: Sequence[str] = (),
) -> ClusterSpec:
    """Make a spec from the words of the command line.

    `gpus` sets every node's count, `gpu_nodes` ("1=2xFake-GPU-80GB:81920" or "1=0") one node's GPUs, `mounts`
    ("/host/path:/container/path") what containers with a GPU see.

    Raises:
        ClusterError: a word does not say what it should.
    """
    check_name(name)
    if not 0 <= nodes <= MAX_NODES:
        raise ClusterError(f"--nodes {nodes}: expected 0 (a control plane alone) to {MAX_NODES}")
    per_node = [DEFAULT_GPUS[i % len(DEFAULT_GPUS)] for i in range(nodes)]
    if gpus is not None:
        per_node = [Gpus(count=gpus, product=g.product, memory_mib=g.memory_mib) for g in per_node]
    for word in gpu_nodes:
        index, wish = _parse_gpus(word, per_node)
        per_node[index] = wish
    for index, wish in enumerate(per_node):
        if not 0 <= wish.count <= 64:
            raise ClusterError(f"node {index}: {wish.count} GPUs; expected 0 to 64")
    return ClusterSpec(name=name, gpus=tuple(per_node), mounts=tuple(_parse_mount(word) for word in mounts))


def _parse_gpus(word: str, defaults: Sequence[Gpus]) -> tuple[int, Gpus]:
    found = _GPUS.fullmatch(word)
    if not found:
        raise ClusterError(
            f"--gpu-node {word!r}: expected NODE=COUNT or NODE=COUNTxPRODUCT:MEMORY_MIB,"
            " such as 1=2xFake-GPU-80GB:81920"
        )
    index = int(found["node"])
    if index >= len(defaults):
        raise ClusterError(
            f"--gpu-node {word!r}: there is no node {index}; nodes are 0 to {len(defaults) - 1}"
        )
    return index, Gpus(
        count=int(found["count"]),
        product=found["product"] or defaults[index].product,
        memory_mib=int(found["memory"] or defaults[index].memory_mib),
    )


def _parse_mount(word: str) -> Mount:
    host, _, container = word.partition(":")
    if not host.startswith("/") or not container.startswith("/"):
        raise ClusterError(f"--gpu-mount {word!r}: expected /HOST/PATH:/CONTAINER/PATH")
    return Mount(host=host, container=container)

"""Which private network a cluster gets, so that no two clusters and nothing else of the machine collide.

A slot is one /16. The registry lies in /run because networks are the whole machine's and end with it.
"""

import ipaddress
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from e2e.cluster.errors import ClusterError
from e2e.cluster.shell import locked, sh

RUN_DIR: Final = Path("/run/tertium-e2e")
# A private range that few use, then the one that RFC 2544 sets aside for tests.
SLOTS: Final = (*(f"10.{second}" for second in range(200, 240)), "198.18", "198.19")


@dataclass(frozen=True, slots=True)
class Addresses:
    """Every address of one cluster, from the first two octets of its /16."""

    prefix: str

    @property
    def network(self) -> str:
        """The whole slot."""
        return f"{self.prefix}.0.0/16"

    @property
    def control(self) -> str:
        """The control plane: API server, etcd and DNS listen here."""
        return f"{self.prefix}.0.1"

    @property
    def machine(self) -> str:
        """The machine itself, as the cluster sees it."""
        return f"{self.prefix}.0.2"

    @property
    def services(self) -> str:
        """The range of cluster IPs."""
        return f"{self.prefix}.32.0/19"

    @property
    def api_service(self) -> str:
        """Cluster IP of the Service `kubernetes`."""
        return f"{self.prefix}.32.1"

    @property
    def dns_service(self) -> str:
        """Cluster IP of the Service `kube-dns`."""
        return f"{self.prefix}.32.10"

    @property
    def pods(self) -> str:
        """The range of all pods."""
        return f"{self.prefix}.64.0/18"

    def node(self, index: int) -> str:
        """Address of a node."""
        return f"{self.prefix}.0.{10 + index}"

    def node_pods(self, index: int) -> str:
        """The range of one node's pods."""
        return f"{self.prefix}.{64 + index}.0/24"


def free_slot(taken: Iterable[str], networks: Iterable[str], preferred: str | None = None) -> str:
    """Return the first slot that no other cluster has taken and that no network of the machine overlaps.

    Raises:
        ClusterError: there is none.
    """
    used = [ipaddress.ip_network(network, strict=False) for network in networks]
    taken = set(taken)
    for prefix in ([preferred] if preferred else []) + list(SLOTS):
        slot = ipaddress.ip_network(f"{prefix}.0.0/16")
        if prefix not in taken and not any(slot.overlaps(network) for network in used):
            return prefix
    raise ClusterError(
        f"no free address range: each of {SLOTS[0]}.0.0/16 to {SLOTS[-1]}.0.0/16 is used by one of"
        f" {len(taken)} other clusters or overlaps a route of this machine (see `ip route`)"
    )


def machine_networks() -> list[str]:
    """Return every IPv4 network that the machine has an address in or a route to, without the default."""
    found = [
        f"{a['local']}/{a['prefixlen']}"
        for link in json.loads(sh("ip", "-4", "-j", "addr"))
        for a in link["addr_info"]
    ]
    routes = json.loads(sh("ip", "-4", "-j", "route", "show", "table", "all") or "[]")
    return found + [r["dst"] for r in routes if r.get("dst", "default") != "default"]


def claim(name: str, state: Path, preferred: str | None = None) -> Addresses:
    """Take a slot for the cluster `name` and remember it, or return the one it has.

    Raises:
        ClusterError: the name is taken by a cluster with another state directory, or no slot is free.
    """
    with locked(RUN_DIR / "lock"):
        entry = RUN_DIR / "clusters" / f"{name}.json"
        if entry.exists():
            mine = json.loads(entry.read_text())
            if mine["state"] != str(state):
                raise ClusterError(
                    f"cluster {name}: already there with the state directory {mine['state']}, not {state};"
                    " set TERTIUM_STATE to that one's parent or choose another --name"
                )
            return Addresses(mine["prefix"])
        entry.parent.mkdir(exist_ok=True)
        taken = [json.loads(other.read_text())["prefix"] for other in entry.parent.glob("*.json")]
        prefix = free_slot(taken, machine_networks(), preferred)
        temporary = entry.with_suffix(".new")
        temporary.write_text(json.dumps({"prefix": prefix, "state": str(state)}))
        temporary.rename(entry)
        return Addresses(prefix)


def release(name: str) -> None:
    """Give the slot back; the last cluster also takes away the mount points that were made for clusters."""
    with locked(RUN_DIR / "lock"):
        (RUN_DIR / "clusters" / f"{name}.json").unlink(missing_ok=True)
        made = RUN_DIR / "mountpoints"
        if any((RUN_DIR / "clusters").glob("*.json")) or not made.exists():
            return
        for point in made.read_text().split():
            # Somebody else may use it by now; then it is theirs.
            if Path(point).is_dir() and not any(Path(point).iterdir()):
                Path(point).rmdir()
        made.unlink()


def ensure_mountpoints(points: Iterable[str]) -> None:
    """Make the directories that nodes mount their own over, and remember those that were not there before."""
    with locked(RUN_DIR / "lock"):
        made = RUN_DIR / "mountpoints"
        known = made.read_text().split() if made.exists() else []
        for point in points:
            if not Path(point).is_dir():
                made.write_text("\n".join([*known, point]))
                known.append(point)
                Path(point).mkdir(parents=True)

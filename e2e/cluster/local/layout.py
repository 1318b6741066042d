"""Where everything of one local cluster lies, by name. Pure; makes nothing."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster.errors import ClusterError
from e2e.cluster.slots import Addresses

# The kernel's limit on the path of a unix socket.
_SOCKET_PATH_MAX = 107
# The cgroup, below the cluster's, of the control plane.
CONTROL_GROUP = "control"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Names and paths of the cluster `name` under its directory `state`."""

    name: str
    state: Path

    @property
    def record(self) -> Path:
        """What was asked for, the slot, and whether it is up."""
        return self.state / "cluster.json"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's, with everything inlined."""
        return self.state / "kubeconfig"

    @property
    def pki(self) -> Path:
        """Keys and certificates."""
        return self.state / "pki"

    @property
    def conf(self) -> Path:
        """Configuration files of the parts."""
        return self.state / "conf"

    @property
    def log(self) -> Path:
        """One file per process."""
        return self.state / "log"

    @property
    def audit(self) -> Path:
        """One JSON line per request of Tertium to the API server."""
        return self.log / "audit.log"

    @property
    def etcd(self) -> Path:
        """Every object of the cluster."""
        return self.state / "etcd"

    @property
    def volumes(self) -> Path:
        """What dynamically provisioned hostPath volumes hold."""
        return self.state / "volumes"

    @property
    def cgroup(self) -> str:
        """The cgroup that holds all processes and containers."""
        return f"tertium-e2e-{self.name}"

    @property
    def cable(self) -> str:
        """The machine's only network interface of the cluster; such names have 15 characters at most."""
        return "tt" + hashlib.sha256(self.name.encode()).hexdigest()[:8]

    def node(self, index: int) -> str:
        """A node's name in the API."""
        return f"{self.name}-node-{index}"

    def home(self, index: int) -> Path:
        """A node's directory."""
        return self.state / f"n{index}"

    def socket(self, index: int) -> Path:
        """A node's containerd."""
        return self.home(index) / "ctrd.sock"


def node_group(index: int) -> str:
    """Return the cgroup, below the cluster's, of a node's own processes."""
    return f"node-{index}/system"


def check_state(layout: Layout) -> None:
    """Refuse a state directory whose path is too long for unix sockets.

    Raises:
        ClusterError: it is.
    """
    longest = f"{layout.socket(99)}.ttrpc"
    if len(longest) > _SOCKET_PATH_MAX:
        raise ClusterError(
            f"state directory {layout.state}: too long by {len(longest) - _SOCKET_PATH_MAX} characters for"
            " unix sockets; set TERTIUM_STATE to a shorter path"
        )


def kubeconfig(
    *, name: str, user: str, server: str, ca: str, certificate: str, key: str
) -> dict[str, object]:
    """Build a client configuration; `ca`, `certificate` and `key` are base64 of PEM."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": ca}}],
        "users": [{"name": user, "user": {"client-certificate-data": certificate, "client-key-data": key}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
    }


def api_url(addresses: Addresses) -> str:
    """Return the API server's address."""
    return f"https://{addresses.control}:6443"

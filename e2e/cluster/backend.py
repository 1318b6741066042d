"""What every kind of cluster can do. The rest of the tool knows no more than this."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from e2e.cluster.progress import Steps
from e2e.cluster.spec import ClusterSpec


class Backend(Protocol):
    """One kind of cluster, bound to one cluster's name."""

    @property
    def kind(self) -> str:
        """The word that `--backend` takes."""

    @property
    def kubeconfig(self) -> Path:
        """The administrator's client configuration; there once `up` has returned."""

    def missing(self) -> list[str]:
        """Return what this machine lacks for it, each with the way to get it."""

    def up(self, spec: ClusterSpec, steps: Steps, *, keep: bool) -> None:
        """Make the cluster be as `spec` says, whatever a run before left behind; nothing to do if it is.

        Raises:
            ClusterError: it cannot, or it is up with another spec.
        """

    def down(self, steps: Steps, *, purge: bool) -> None:
        """Leave no process, mount, interface, cgroup or volume; `purge` also forgets loaded images.

        Raises:
            ClusterError: something resists.
        """

    def load(self, archives: Sequence[Path], steps: Steps) -> None:
        """Bring image archives into every node, those that are not there yet.

        Raises:
            ClusterError: an archive is unreadable, or this kind of cluster takes no images so.
        """

    def service_url(self, service: dict[str, Any]) -> str:
        """Return the URL at which this machine reaches the first port of a Service object.

        Raises:
            ClusterError: there is no way from here.
        """

    def status(self) -> str:
        """Return a text for people."""

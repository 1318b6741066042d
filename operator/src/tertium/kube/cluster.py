"""What Tertium asks of a cluster. `client.py` is the real one; unit tests use a fake with its semantics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, Protocol

from tertium.api.meta import Manifest, ObjectKey
from tertium.api.v1alpha1 import API_KEY_KIND, API_KEY_PLURAL, GROUP, KIND, PLURAL, VERSION


@dataclass(frozen=True, slots=True)
class Kind:
    """A resource kind and where the API server keeps it."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool = True


LLM_DEPLOYMENT: Final = Kind(f"{GROUP}/{VERSION}", KIND, PLURAL)
API_KEY: Final = Kind(f"{GROUP}/{VERSION}", API_KEY_KIND, API_KEY_PLURAL)
DEPLOYMENT: Final = Kind("apps/v1", "Deployment", "deployments")
SERVICE: Final = Kind("v1", "Service", "services")
POD: Final = Kind("v1", "Pod", "pods")
CONFIG_MAP: Final = Kind("v1", "ConfigMap", "configmaps")
NODE: Final = Kind("v1", "Node", "nodes", namespaced=False)
JOB: Final = Kind("batch/v1", "Job", "jobs")
LEASE: Final = Kind("coordination.k8s.io/v1", "Lease", "leases")
EVENT: Final = Kind("v1", "Event", "events")


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One change. `SYNCED` (no object) follows the last object of a list: what was not listed is gone."""

    type: Literal["LISTED", "SYNCED", "ADDED", "MODIFIED", "DELETED"]
    object: Manifest | None


class Cluster(Protocol):
    """Reads and writes. Methods raise `Retryable` for passing faults, `Terminal` for refused objects."""

    async def get(self, kind: Kind, key: ObjectKey) -> Manifest | None:
        """Return the object, or None when there is none."""
        ...

    async def list(
        self, kind: Kind, *, namespace: str | None = None, labels: str = "", fields: str = ""
    ) -> Sequence[Manifest]:
        """Return the objects that match both selectors, in one namespace or in all."""
        ...

    def pages(self, kind: Kind, *, labels: str = "") -> AsyncIterator[Sequence[Manifest]]:
        """Yield the objects of all namespaces that match the label selector, some at a time."""
        ...

    async def apply(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Server-side apply as field manager `tertium`, forced; return the object as it now is."""
        ...

    async def apply_status(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Server-side apply of the status subresource as field manager `tertium-status`, forced.

        Returns the object as it now is.
        """
        ...

    async def replace(self, kind: Kind, manifest: Manifest) -> Manifest | None:
        """Create the object, or replace the very version that its resourceVersion names.

        Returns the object as it now is; None when somebody else was faster.
        """
        ...

    async def scale(self, kind: Kind, key: ObjectKey, replicas: int, *, uid: str) -> str:
        """Set the replica count of the object with this uid through its scale subresource.

        Returns the object's resource version after that. The field manager is `tertium-scale`. Raises
        `Retryable` when the object is gone or another one has its name.
        """
        ...

    async def annotate(
        self, kind: Kind, key: ObjectKey, annotations: Mapping[str, str], *, uid: str, manager: str
    ) -> Manifest:
        """Make `annotations` all that `manager` says about the object with this uid; return the object.

        Raises `Retryable` when the object is gone or another one has its name.
        """
        ...

    async def event(
        self, kind: Kind, key: ObjectKey, *, uid: str, type: str, reason: str, message: str, now: datetime
    ) -> None:
        """Tell of a transition as a Kubernetes Event; the same words again are the same Event."""
        ...

    async def delete(self, kind: Kind, key: ObjectKey, *, uid: str, version: str = "") -> None:
        """Delete the object if it still has this uid, and this resource version where one is given.

        An absent one is no error. Dependents go too. Raises `Retryable` when it is another one now, or a
        newer version: whether that is to go is another decision.
        """
        ...

    async def pod_log(
        self, key: ObjectKey, container: str, *, tail_lines: int | None, previous: bool = False
    ) -> str:
        """Return a log's last lines, its beginning where `tail_lines` is None; empty when there is none."""
        ...

    async def renew_lease(self, key: ObjectKey, claims: Mapping[str, str | None]) -> Manifest:
        """Set these annotations of a Lease that exists, remove those that are None, and leave all others.

        Returns the Lease as it now is. Raises `Retryable` when it does not exist yet.
        """
        ...

    def watch(self, kind: Kind, *, labels: str = "") -> AsyncIterator[WatchEvent]:
        """List, then follow the kind in all namespaces, for ever; reconnects and lists anew by itself."""
        ...

"""Which pods of a deployment may get requests: a pure rule over what the API server and our probes say."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from tertium.api.meta import Manifest, ObjectKey, parse_time
from tertium.core import names

_ENDED: Final = ("Failed", "Succeeded")


@dataclass(frozen=True, slots=True, kw_only=True)
class Incarnation:
    """One life of an engine: what a probe showed holds until its container restarts or readiness changes."""

    uid: str
    restarts: int
    ready_since: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """One engine process: what it has made at its first token stays until its container restarts."""

    uid: str
    restarts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One engine pod."""

    namespace: str
    owner_label: str
    name: str
    ip: str
    leaving: bool
    ready: bool
    incarnation: Incarnation
    created: datetime | None = None

    @property
    def reachable(self) -> bool:
        """Whether it is worth asking for its health."""
        return bool(self.ip) and not self.leaving

    @property
    def engine(self) -> Engine:
        """The engine process, whatever becomes of its readiness."""
        return Engine(uid=self.incarnation.uid, restarts=self.incarnation.restarts)

    def age(self, now: datetime) -> float:
        """Seconds since the pod was made, by the API server's clock; 0 where that is not known."""
        return 0.0 if self.created is None else max(0.0, (now - self.created).total_seconds())


def parse_replica(manifest: Manifest) -> Replica:
    """Read an engine pod."""
    metadata = manifest["metadata"]
    status = manifest.get("status", {})
    conditions: Sequence[Manifest] = status.get("conditions", ())
    ready: Manifest = next((item for item in conditions if item["type"] == "Ready"), {})
    restarts = next(
        (
            item["restartCount"]
            for item in status.get("containerStatuses", ())
            if item["name"] == names.ENGINE_CONTAINER
        ),
        0,
    )
    return Replica(
        namespace=metadata["namespace"],
        owner_label=metadata.get("labels", {}).get(names.OWNER, ""),
        name=metadata["name"],
        ip=status.get("podIP", ""),
        leaving="deletionTimestamp" in metadata or status.get("phase") in _ENDED,
        ready=ready.get("status") == "True",
        incarnation=Incarnation(
            uid=metadata["uid"], restarts=restarts, ready_since=ready.get("lastTransitionTime", "")
        ),
        created=parse_time(metadata["creationTimestamp"]) if "creationTimestamp" in metadata else None,
    )


def serves(replica: Replica, *, proven: Set[Incarnation], suspect: Set[Incarnation]) -> bool:
    """Whether requests may go to this replica.

    | pod                                      | result                                              |
    | being deleted, ended, or without an IP   | no                                                  |
    | refused a connection, no good probe since| no: our own probe is newer than the kubelet's       |
    | Ready                                    | yes                                                 |
    | not Ready, our probe was answered        | yes: the kubelet's probe is only later              |
    | not Ready any more, no good probe since  | no: the change of readiness is another incarnation  |
    """
    if not replica.reachable or replica.incarnation in suspect:
        return False
    return replica.ready or replica.incarnation in proven


def owner_of(key: ObjectKey) -> tuple[str, str]:
    """The namespace and label value by which a deployment's pods are found."""
    return key.namespace, names.fit(key.name)

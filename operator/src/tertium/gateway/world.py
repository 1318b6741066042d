"""What this gateway knows: deployments and engine pods as last seen, and what its own probes have shown.

Changed only by watch events and probe results; everything else asks it. Knows no Envoy and no waiters.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Literal, TypeAlias

from tertium.api.meta import Manifest, ObjectKey
from tertium.core import names
from tertium.core.routing import Model, RoutingTable, build_table, parse_model
from tertium.gateway.replicas import Engine, Incarnation, Replica, owner_of, parse_replica, serves
from tertium.kube.cluster import LLM_DEPLOYMENT, POD, Cluster, WatchEvent

State: TypeAlias = Literal["idle", "waking", "serving", "unavailable"]
OnChange: TypeAlias = Callable[[Sequence[ObjectKey]], None]
_Take: TypeAlias = Callable[[Manifest], Sequence[ObjectKey]]
_Drop: TypeAlias = Callable[[ObjectKey], Sequence[ObjectKey]]

_log = logging.getLogger(__name__)


class World:
    """The deployments and their replicas. Until `synced`, nothing may be concluded from what is missing."""

    def __init__(self, seconds: Callable[[], float] = time.monotonic) -> None:
        """`seconds`: a clock that nobody sets."""
        self._seconds = seconds
        self._table: RoutingTable | None = None
        self.on_change: OnChange = lambda keys: None
        self._models: dict[ObjectKey, Model] = {}
        self.skipped: dict[ObjectKey, str] = {}
        """Deployments whose spec breaks the schema, with the reason."""
        self._pods: dict[ObjectKey, Replica] = {}
        self._by_owner: defaultdict[tuple[str, str], dict[str, Replica]] = defaultdict(dict)
        self._proven: set[Incarnation] = set()
        self._suspect: set[Incarnation] = set()
        self._warm: set[Engine] = set()
        self._begun: dict[ObjectKey, float] = {}
        self._owners: defaultdict[tuple[str, str], list[ObjectKey]] = defaultdict(list)
        self._seen: defaultdict[str, set[ObjectKey]] = defaultdict(set)
        self._listed: dict[str, set[ObjectKey]] = {}
        self._synced: set[str] = set()

    @property
    def table(self) -> RoutingTable:
        """Every deployment and the names that lead to it; made when it is asked for, not with every event."""
        if self._table is None:
            self._table = build_table(self._models.values())
        return self._table

    @property
    def synced(self) -> bool:
        """Whether both kinds have been listed once."""
        return len(self._synced) == 2

    def replicas(self, key: ObjectKey) -> list[Replica]:
        """The pods of a deployment that are not on their way out."""
        return [item for item in self._by_owner.get(owner_of(key), {}).values() if item.reachable]

    def awake(self, key: ObjectKey) -> bool:
        """Whether a deployment has a pod that is not on its way out, answering or not."""
        return any(not item.leaving for item in self._by_owner.get(owner_of(key), {}).values())

    def addresses(self, key: ObjectKey) -> tuple[str, ...]:
        """IP addresses of the replicas that may get requests, in a stable order."""
        cold = self.cold(key)
        return tuple(sorted(item.ip for item in self.replicas(key) if self.serves(item) and item not in cold))

    def cold(self, key: ObjectKey) -> list[Replica]:
        """The replicas that answer, and get no requests yet because the deployment wants them warm first."""
        model = self.table.models.get(key)
        if model is None or not model.warm_up:
            return []
        return [item for item in self.replicas(key) if self.serves(item) and item.engine not in self._warm]

    def elapsed(self, key: ObjectKey) -> float:
        """For how many seconds the oldest start of a deployment that is under way has lasted."""
        starting = (
            self._begun[ObjectKey(item.namespace, item.name)]
            for item in self._by_owner.get(owner_of(key), {}).values()
            if not item.leaving and not self.serves(item)
        )
        now = self._seconds()
        return now - min(starting, default=now)

    def serves(self, replica: Replica) -> bool:
        """Whether this replica may get requests."""
        return serves(replica, proven=self._proven, suspect=self._suspect)

    def state(self, key: ObjectKey, *, awaited: bool) -> State:
        """In what state a known deployment is; `awaited`: a request is held for it here."""
        if self.addresses(key):
            return "serving"
        if self.table.models[key].refusal is not None:
            return "unavailable"
        return "waking" if awaited or self.awake(key) else "idle"

    def warmed(self, key: ObjectKey, replica: Replica) -> None:
        """Take note that a replica is warm, or as warm as it will get."""
        known = self._pods.get(ObjectKey(replica.namespace, replica.name))
        if known is not None and known.engine == replica.engine:
            self._warm.add(replica.engine)
            self.on_change((key,))

    def prove(self, key: ObjectKey, replica: Replica) -> None:
        """Take note that a replica has answered our probe."""
        if self._current(replica):
            self._proven.add(replica.incarnation)
            self._suspect.discard(replica.incarnation)
            self.on_change((key,))

    def doubt(self, key: ObjectKey, replica: Replica) -> None:
        """Take note that a replica does not answer, whatever the API server still says."""
        if self._current(replica):
            self._proven.discard(replica.incarnation)
            self._suspect.add(replica.incarnation)
            self.on_change((key,))

    async def follow_deployments(self, cluster: Cluster) -> None:
        """Follow all deployments, for ever."""
        async for event in cluster.watch(LLM_DEPLOYMENT):
            self._take("deployments", event, self._take_deployment, self._drop_deployment)

    async def follow_pods(self, cluster: Cluster) -> None:
        """Follow all engine pods, for ever."""
        async for event in cluster.watch(POD, labels=names.ENGINE_SELECTOR):
            self._take("pods", event, self._take_pod, self._drop_pod)

    def _take(self, kind: str, event: WatchEvent, take: _Take, drop: _Drop) -> None:
        """Apply one event. The end of a list drops what was not in it: its deletion was missed."""
        seen = self._seen[kind]
        if event.object is None:
            gone = seen - self._listed.pop(kind, set())
            touched = [key for lost in gone for key in drop(lost)]
            seen -= gone
            self._synced.add(kind)
            if self.synced:  # told even when there is nothing: that too is a state to publish
                self.on_change([*self.table.models, *touched])
            return
        key = ObjectKey.of(event.object)
        if event.type == "DELETED":
            seen.discard(key)
            self._changed(drop(key))
            return
        seen.add(key)
        if event.type == "LISTED":
            self._listed.setdefault(kind, set()).add(key)
        self._changed(take(event.object))

    def _changed(self, keys: Sequence[ObjectKey]) -> None:
        if self.synced and keys:
            self.on_change(keys)

    def _take_deployment(self, manifest: Manifest) -> Sequence[ObjectKey]:
        key = ObjectKey.of(manifest)
        parsed = parse_model(manifest)
        if not isinstance(parsed, Model):
            touched = self._drop_deployment(key)
            if parsed is not None:
                self.skipped[key] = parsed
                _log.warning("deployment skipped", extra={"deployment": str(key), "why": parsed})
            return touched
        self.skipped.pop(key, None)
        if self._models.get(key) == parsed:
            return ()
        if key not in self._models:
            self._owners[owner_of(key)].append(key)
        self._models[key] = parsed
        self._table = None
        return (key,)

    def _drop_deployment(self, key: ObjectKey) -> Sequence[ObjectKey]:
        self.skipped.pop(key, None)
        if self._models.pop(key, None) is None:
            return ()
        self._owners[owner_of(key)].remove(key)
        self._table = None
        return (key,)

    def _take_pod(self, manifest: Manifest) -> Sequence[ObjectKey]:
        key, replica = ObjectKey.of(manifest), parse_replica(manifest)
        before = self._pods.get(key)
        if before == replica:
            return ()
        if before is None:
            # A start that was under way when this gateway began is dated by the API server's clock.
            age = 0.0 if self.synced else replica.age(datetime.now(UTC))
            self._begun[key] = self._seconds() - age
            if replica.ready and not self.synced:
                self._warm.add(replica.engine)  # by another gateway pod, or by requests
        elif before.incarnation != replica.incarnation:
            self._forget(before)
            if before.engine != replica.engine:
                self._warm.discard(before.engine)
                self._begun[key] = self._seconds()
        self._pods[key] = replica
        owner = (replica.namespace, replica.owner_label)
        self._by_owner[owner][replica.name] = replica
        return self._owners.get(owner, ())

    def _drop_pod(self, key: ObjectKey) -> Sequence[ObjectKey]:
        replica = self._pods.pop(key, None)
        if replica is None:
            return ()
        self._forget(replica)
        self._warm.discard(replica.engine)
        del self._begun[key]
        owner = (replica.namespace, replica.owner_label)
        self._by_owner[owner].pop(replica.name, None)
        if not self._by_owner[owner]:
            del self._by_owner[owner]
        return self._owners.get(owner, ())

    def _forget(self, replica: Replica) -> None:
        self._proven.discard(replica.incarnation)
        self._suspect.discard(replica.incarnation)

    def _current(self, replica: Replica) -> bool:
        """Whether the pod is still the one probed: a late answer says nothing about its successor."""
        known = self._pods.get(ObjectKey(replica.namespace, replica.name))
        return known is not None and known.incarnation == replica.incarnation

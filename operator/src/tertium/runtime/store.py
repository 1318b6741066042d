"""The last seen objects: deployments, their children by owner, and what the nodes can offer.

Fed by watch events, by complete lists, and by the answers to our own writes, so that a reconcile never meets
a world older than what it wrote itself. It must not know what a reconcile is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TypeAlias

from tertium.api.meta import Manifest, ObjectKey
from tertium.core import names
from tertium.core.demand import Claim, follow, seconds_left
from tertium.core.load import Reports
from tertium.core.planner import GpuPool, gpu_pools
from tertium.kube.cluster import DEPLOYMENT, LEASE, LLM_DEPLOYMENT, NODE, POD
from tertium.render.manifest import id_of
from tertium.runtime.clock import boot_seconds
from tertium.runtime.short_names import ShortNames
from tertium.runtime.trim import trim

Group: TypeAlias = tuple[str, str]
"""Namespace and owner label: what the children of one deployment share. A label may be a cut name."""
ChildId: TypeAlias = tuple[str, str]
"""Kind and name."""


class Store:
    """Everything the operator has seen. `put` and `drop` return the deployments to look at again."""

    def __init__(self, seconds: Callable[[], float] = boot_seconds) -> None:
        """`seconds`: a clock that nobody sets; by it demand is told from demand that has run out."""
        self._seconds = seconds
        self.owners: dict[ObjectKey, Manifest] = {}
        self.pools: tuple[GpuPool, ...] = ()
        self.reports: Reports | None = None
        self._children: dict[Group, dict[ChildId, Manifest]] = {}
        self._claims: dict[Group, Mapping[str, Claim]] = {}
        self._keys: dict[Group, ObjectKey] = {}
        self._nodes: dict[str, Manifest] = {}
        self._short_names = ShortNames()

    def put(self, manifest: Manifest) -> Sequence[ObjectKey]:
        """Remember an object unless this or a newer version of it is known: then nobody is to be told."""
        kind = manifest["kind"]
        if kind == LLM_DEPLOYMENT.kind:
            return self._put_owner(manifest)
        if kind == NODE.kind:
            return self._put_node(manifest)
        group = _group_of_child(manifest)
        if group is None:
            return ()
        children = self._children.setdefault(group, {})
        if not _is_news(manifest, children.get(id_of(manifest))):
            return ()
        children[id_of(manifest)] = trim(manifest)
        if kind == LEASE.kind:
            self._claims[group] = follow(self._claims.get(group), manifest, self._seconds())
        return self._owner_of(group)

    def drop(self, manifest: Manifest) -> Sequence[ObjectKey]:
        """Forget an object, unless it is not known or only a successor of the same name is."""
        kind = manifest["kind"]
        if kind == LLM_DEPLOYMENT.kind:
            return self._drop_owner(manifest)
        if kind == NODE.kind:
            self._nodes.pop(manifest["metadata"]["name"], None)
            return self._count_gpus()
        group = _group_of_child(manifest)
        children = self._children.get(group, {}) if group else {}
        if group is None or not _same(children.get(id_of(manifest)), manifest):
            return ()
        del children[id_of(manifest)]
        if kind == LEASE.kind:
            self._claims.pop(group, None)
        if not children:
            del self._children[group]
        return self._owner_of(group)

    def known(self, kind: str) -> Mapping[str, Manifest]:
        """Return all objects of one kind by uid."""
        if kind == LLM_DEPLOYMENT.kind:
            found: Iterable[Manifest] = self.owners.values()
        elif kind == NODE.kind:
            found = self._nodes.values()
        else:
            found = (
                manifest
                for children in self._children.values()
                for (child_kind, _), manifest in children.items()
                if child_kind == kind
            )
        return {manifest["metadata"]["uid"]: manifest for manifest in found}

    def children(self, key: ObjectKey) -> Mapping[ChildId, Manifest]:
        """Return the children of a deployment by kind and name."""
        return self._children.get(group_of(key), {})

    def active(self) -> Sequence[ObjectKey]:
        """Return the deployments that ask for replicas now, of whatever revision."""
        return [key for key in self.owners if self._replicas(key) > 0]

    def pressing(self, now: datetime) -> Sequence[ObjectKey]:
        """Return the deployments that somebody waits for or uses now: a new leader begins with them."""
        return [key for key in self.owners if self._replicas(key) > 0 or self.demand_seconds(key, now) > 0]

    def demand_seconds(self, key: ObjectKey, now: datetime) -> float:
        """Return for how long somebody still waits for a deployment, in seconds; 0: nobody does."""
        return seconds_left(self._claims.get(group_of(key), {}), now=now, seen=self._seconds())

    def name_taken_by(self, key: ObjectKey) -> ObjectKey | None:
        """Return the older deployment that has the short name of this one; None: the name is its own."""
        return self._short_names.taken_by(key)

    def _put_owner(self, manifest: Manifest) -> Sequence[ObjectKey]:
        key = ObjectKey.of(manifest)
        if not _is_news(manifest, self.owners.get(key)):
            return ()
        self.owners[key] = trim(manifest)
        self._keys[group_of(key)] = key
        return (key, *self._short_names.put(key, manifest))

    def _drop_owner(self, manifest: Manifest) -> Sequence[ObjectKey]:
        """Forget an LLMDeployment; its children go by their own events."""
        key = ObjectKey.of(manifest)
        if not _same(self.owners.get(key), manifest):
            return ()
        del self.owners[key]
        self._keys.pop(group_of(key), None)
        return (key, *self._short_names.drop(key))

    def _owner_of(self, group: Group) -> Sequence[ObjectKey]:
        key = self._keys.get(group)
        return (key,) if key is not None else ()

    def _put_node(self, manifest: Manifest) -> Sequence[ObjectKey]:
        name, node = manifest["metadata"]["name"], trim(manifest)
        before = self._nodes.get(name)
        self._nodes[name] = node
        return () if before is not None and _unversioned(before) == _unversioned(node) else self._count_gpus()

    def _count_gpus(self) -> Sequence[ObjectKey]:
        """Count anew and return those whom a change may help now: who has no plan, and who has pods.

        All others are at rest. They plan anew when they wake, and are looked at again by and by.
        """
        pools = gpu_pools(tuple(self._nodes.values()))
        if pools == self.pools:
            return ()
        self.pools = pools
        return [key for key in self.owners if not self._has_plan(key) or self._has_pods(key)]

    def _has_plan(self, key: ObjectKey) -> bool:
        return (self.owners[key].get("status") or {}).get("plan") is not None

    def _has_pods(self, key: ObjectKey) -> bool:
        return any(kind == POD.kind for kind, _ in self.children(key))

    def _replicas(self, key: ObjectKey) -> int:
        return sum(
            int(manifest["spec"].get("replicas", 1))
            for (kind, _), manifest in self.children(key).items()
            if kind == DEPLOYMENT.kind
        )


def group_of(key: ObjectKey) -> Group:
    """Return the group of a deployment's children."""
    return (key.namespace, names.fit(key.name))


def _group_of_child(manifest: Manifest) -> Group | None:
    owner = (manifest["metadata"].get("labels") or {}).get(names.OWNER)
    return (manifest["metadata"].get("namespace", ""), owner) if owner else None


def _same(known: Manifest | None, manifest: Manifest) -> bool:
    return known is not None and known["metadata"].get("uid") == manifest["metadata"].get("uid")


def _is_news(manifest: Manifest, known: Manifest | None) -> bool:
    """Whether `manifest` says more than is known: watches, lists and answers repeat each other.

    Versions of one object can be compared as numbers; a namesake with another uid is always news.
    """
    if known is None or not _same(known, manifest):
        return True
    version = _version(manifest)
    return version == 0 or version > _version(known)


def _version(manifest: Manifest) -> int:
    text = manifest["metadata"].get("resourceVersion", "")
    return int(text) if text.isdecimal() else 0


def _unversioned(node: Manifest) -> Manifest:
    metadata = {name: value for name, value in node["metadata"].items() if name != "resourceVersion"}
    return {**node, "metadata": metadata}

"""The last seen objects: deployments, their children by owner, and what the nodes can offer.

Fed by watch events, by complete lists, and by the answers to our own writes, so that a reconcile never meets
a world older than what it wrote itself. It must not know what a reconcile is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from tertium.api.meta import Manifest, ObjectKey
from tertium.core import names
from tertium.core.load import Reports
from tertium.core.planner import GpuPool, gpu_pools
from tertium.kube.cluster import LLM_DEPLOYMENT, NODE
from tertium.render.manifest import id_of

Group: TypeAlias = tuple[str, str]
"""Namespace and owner label: what the children of one deployment share. A label may be a cut name."""
ChildId: TypeAlias = tuple[str, str]
"""Kind and name."""


class Store:
    """Everything the operator has seen. `put` and `drop` return the deployments to look at again."""

    def __init__(self) -> None:
        self.owners: dict[ObjectKey, Manifest] = {}
        self.pools: tuple[GpuPool, ...] = ()
        self.reports: Reports | None = None
        self._children: dict[Group, dict[ChildId, Manifest]] = {}
        self._keys: dict[Group, ObjectKey] = {}
        self._nodes: dict[str, Manifest] = {}

    def put(self, manifest: Manifest) -> Sequence[ObjectKey]:
        """Remember an object unless a newer version of it is known."""
        kind = manifest["kind"]
        if kind == LLM_DEPLOYMENT.kind:
            return self._put_owner(manifest)
        if kind == NODE.kind:
            self._nodes[manifest["metadata"]["name"]] = manifest
            return self._count_gpus()
        group = _group_of_child(manifest)
        if group is None:
            return ()
        children = self._children.setdefault(group, {})
        if not _is_older(manifest, children.get(id_of(manifest))):
            children[id_of(manifest)] = manifest
        return self._owner_of(group)

    def drop(self, manifest: Manifest) -> Sequence[ObjectKey]:
        """Forget an object, unless a successor of the same name is known."""
        kind = manifest["kind"]
        if kind == LLM_DEPLOYMENT.kind:
            return self._drop_owner(manifest)
        if kind == NODE.kind:
            self._nodes.pop(manifest["metadata"]["name"], None)
            return self._count_gpus()
        group = _group_of_child(manifest)
        if group is None:
            return ()
        children = self._children.get(group, {})
        if _same(children.get(id_of(manifest)), manifest):
            del children[id_of(manifest)]
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
        """Return the deployments that ask for replicas now."""
        return [
            key
            for key in self.owners
            if self._replicas(self.children(key).get(("Deployment", names.engine(key)))) > 0
        ]

    def _put_owner(self, manifest: Manifest) -> Sequence[ObjectKey]:
        key = ObjectKey.of(manifest)
        if not _is_older(manifest, self.owners.get(key)):
            self.owners[key] = manifest
            self._keys[group_of(key)] = key
        return (key,)

    def _drop_owner(self, manifest: Manifest) -> Sequence[ObjectKey]:
        """Forget an LLMDeployment; its children go by their own events."""
        key = ObjectKey.of(manifest)
        if _same(self.owners.get(key), manifest):
            del self.owners[key]
            self._keys.pop(group_of(key), None)
        return (key,)

    def _owner_of(self, group: Group) -> Sequence[ObjectKey]:
        key = self._keys.get(group)
        return (key,) if key is not None else ()

    def _count_gpus(self) -> Sequence[ObjectKey]:
        """Count anew; a change concerns every deployment, a node's heartbeat none."""
        pools = gpu_pools(tuple(self._nodes.values()))
        if pools == self.pools:
            return ()
        self.pools = pools
        return tuple(self.owners)

    @staticmethod
    def _replicas(deployment: Manifest | None) -> int:
        return int(deployment["spec"].get("replicas", 1)) if deployment else 0


def group_of(key: ObjectKey) -> Group:
    """Return the group of a deployment's children."""
    return (key.namespace, names.fit(key.name))


def _group_of_child(manifest: Manifest) -> Group | None:
    owner = (manifest["metadata"].get("labels") or {}).get(names.OWNER)
    return (manifest["metadata"].get("namespace", ""), owner) if owner else None


def _same(known: Manifest | None, manifest: Manifest) -> bool:
    return known is not None and known["metadata"].get("uid") == manifest["metadata"].get("uid")


def _is_older(manifest: Manifest, known: Manifest | None) -> bool:
    """Whether `manifest` is a late event about an object of which a newer version is known.

    Versions of one object can be compared as numbers; a namesake with another uid is always news.
    """
    return known is not None and _same(known, manifest) and _version(manifest) < _version(known)


def _version(manifest: Manifest) -> int:
    text = manifest["metadata"].get("resourceVersion", "")
    return int(text) if text.isdecimal() else 0

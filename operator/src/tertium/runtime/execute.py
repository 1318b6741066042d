"""Make desired objects true: guard against foreign ones, write what differs, then drop what is spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tertium.api.conditions import Reason
from tertium.api.meta import Manifest, ObjectKey
from tertium.api.v1alpha1 import KIND
from tertium.core import names
from tertium.core.errors import Retryable, Terminal, TertiumError
from tertium.core.observed import Identity
from tertium.kube.cluster import CONFIG_MAP, DEPLOYMENT, JOB, LEASE, POD, SERVICE, Cluster
from tertium.render import Desired, Rescaled
from tertium.render.manifest import controlled_by, id_of
from tertium.runtime.store import ChildId, Store

APPLIED_KINDS: Final = {kind.kind: kind for kind in (DEPLOYMENT, SERVICE, LEASE, CONFIG_MAP, JOB)}


async def execute(cluster: Cluster, store: Store, owner: Identity, desired: Desired) -> Sequence[str]:
    """Write what differs and return what was done, in words.

    Nothing is written when any object of a wanted name is somebody else's: raises `Terminal`, NotOwned.
    Stops at the first `Retryable`; what was done so far stands, and the next pass goes on from there.
    """
    wanted_ids = dict.fromkeys((*map(id_of, desired.apply), *desired.reserved))
    live = {child: await _live(cluster, store, owner, child) for child in wanted_ids}
    for manifest in live.values():
        if manifest is not None and not controlled_by(manifest, owner):
            raise _foreign(manifest, owner)
    done = await _price(cluster, store, owner, desired.costs)
    # Down before up: at no moment are there more replicas than wanted.
    down = [scale for scale in desired.rescale if scale.replicas < _replicas(scale.live)]
    up = [scale for scale in desired.rescale if scale.replicas > _replicas(scale.live)]
    done += [await _scale(cluster, store, scale) for scale in down]
    for wanted in desired.apply:
        before = live[id_of(wanted)]
        if before is not None and is_as_wanted(before, wanted):
            continue
        store.put(await cluster.apply(APPLIED_KINDS[wanted["kind"]], wanted))
        done.append(_words(before, wanted))
    done += [await _scale(cluster, store, scale) for scale in up]
    for spent in desired.drop:
        if controlled_by(spent, owner):
            uid = spent["metadata"]["uid"]
            await cluster.delete(APPLIED_KINDS[spent["kind"]], ObjectKey.of(spent), uid=uid)
            store.drop(spent)
            done.append(f"deleted {spent['kind']} {spent['metadata']['name']}")
    return done


async def _price(cluster: Cluster, store: Store, owner: Identity, costs: Mapping[str, int]) -> list[str]:
    """Write the deletion costs that differ; an absent one is 0 to Kubernetes."""
    done = []
    for name, cost in costs.items():
        pod = store.children(owner.key).get((POD.kind, name))
        if (
            pod is None
            or int((pod["metadata"].get("annotations") or {}).get(names.DELETION_COST_ANNOTATION, 0)) == cost
        ):
            continue
        key, uid = ObjectKey.of(pod), pod["metadata"]["uid"]
        priced = await cluster.annotate(
            POD, key, {names.DELETION_COST_ANNOTATION: str(cost)}, uid=uid, manager=names.DRAIN_FIELD_MANAGER
        )
        store.put(priced)
        done.append(f"priced Pod {name} {cost}")
    return done


async def _scale(cluster: Cluster, store: Store, scale: Rescaled) -> str:
    """Change a count and nothing else: the object was made from a blueprint that is no longer known."""
    live, key = scale.live, ObjectKey.of(scale.live)
    uid = live["metadata"]["uid"]
    version = await cluster.scale(APPLIED_KINDS[live["kind"]], key, scale.replicas, uid=uid)
    metadata = {**live["metadata"], "resourceVersion": version}
    store.put({**live, "metadata": metadata, "spec": {**live["spec"], "replicas": scale.replicas}})
    return f"scaled {live['kind']} {key.name} {_replicas(live)} -> {scale.replicas}"


def is_as_wanted(live: Manifest, wanted: Manifest) -> bool:
    """Whether an apply would change nothing.

    | digest of the last apply | wanted fields in the live object | result                    |
    | other                    | any                              | no: a field may be dropped |
    | same                     | some differ                      | no: it drifted            |
    | same                     | all equal                        | yes                       |
    """
    annotations = live["metadata"].get("annotations") or {}
    digest = wanted["metadata"]["annotations"][names.APPLIED_ANNOTATION]
    return annotations.get(names.APPLIED_ANNOTATION) == digest and _contains(live, wanted)


async def _live(cluster: Cluster, store: Store, owner: Identity, child: ChildId) -> Manifest | None:
    """Return the object as last seen. One never seen is asked for: it may be there without our labels."""
    known = store.children(owner.key).get(child)
    if known is not None:
        return known
    kind, name = child
    return await cluster.get(APPLIED_KINDS[kind], ObjectKey(owner.key.namespace, name))


def _contains(live: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        # The API server leaves out what is empty or false.
        return isinstance(live, Mapping) and all(
            _contains(live[key], value) if key in live else not value for key, value in wanted.items()
        )
    if isinstance(wanted, list | tuple):
        return (
            isinstance(live, list | tuple) and len(live) == len(wanted) and all(map(_contains, live, wanted))
        )
    return bool(live == wanted)


def _foreign(manifest: Manifest, owner: Identity) -> TertiumError:
    kind, name = id_of(manifest)
    what = f"{kind} {owner.key.namespace}/{name}"
    references = manifest["metadata"].get("ownerReferences") or ()
    if any(reference["kind"] == KIND and reference["name"] == owner.key.name for reference in references):
        return Retryable(f"{what} belongs to an earlier LLMDeployment of this name and is being deleted")
    return Terminal(
        Reason.NOT_OWNED,
        f"{what} exists and is not controlled by this LLMDeployment; delete or rename that object, or "
        "rename this one",
    )


def _replicas(manifest: Manifest) -> int:
    return int(manifest["spec"].get("replicas", 1))


def _words(before: Manifest | None, wanted: Manifest) -> str:
    kind, name = id_of(wanted)
    if before is None:
        return f"created {kind} {name}"
    then, now = before.get("spec", {}).get("replicas"), wanted.get("spec", {}).get("replicas")
    return f"scaled {kind} {name} {then} -> {now}" if then != now else f"changed {kind} {name}"

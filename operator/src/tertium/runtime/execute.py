"""Make desired objects true: guard against foreign ones, apply what differs, then drop what is spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tertium.api.conditions import Reason
from tertium.api.meta import Manifest, ObjectKey
from tertium.api.v1alpha1 import KIND
from tertium.core import names
from tertium.core.errors import Retryable, Terminal, TertiumError
from tertium.core.observed import Identity
from tertium.kube.cluster import CONFIG_MAP, DEPLOYMENT, JOB, LEASE, SERVICE, Cluster
from tertium.render import Desired
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
    done = []
    for wanted in desired.apply:
        before = live[id_of(wanted)]
        if before is not None and is_as_wanted(before, wanted):
            continue
        store.put(await cluster.apply(APPLIED_KINDS[wanted["kind"]], wanted))
        done.append(_words(before, wanted))
    for spent in desired.drop:
        if controlled_by(spent, owner):
            uid = spent["metadata"]["uid"]
            await cluster.delete(APPLIED_KINDS[spent["kind"]], ObjectKey.of(spent), uid=uid)
            store.drop(spent)
            done.append(f"deleted {spent['kind']} {spent['metadata']['name']}")
    return done


def is_as_wanted(live: Manifest, wanted: Manifest) -> bool:
    """Whether an apply would change nothing.

    | digest of the last apply | wanted fields in the live object | result                    |
    | other                    | any                              | no: a field may be dropped |
    | same                     | some differ                      | no: it drifted            |
    | same                     | all equal                        | yes                       |
    """
    annotations = live["metadata"].get("annotations") or {}
    digest = wanted["metadata"]["annotations"][names.REVISION_ANNOTATION]
    return annotations.get(names.REVISION_ANNOTATION) == digest and _contains(live, wanted)


async def _live(cluster: Cluster, store: Store, owner: Identity, child: ChildId) -> Manifest | None:
    """Return the object as last seen. One never seen is asked for: it may be there without our labels."""
    known = store.children(owner.key).get(child)
    if known is not None:
        return known
    kind, name = child
    return await cluster.get(APPLIED_KINDS[kind], ObjectKey(owner.key.namespace, name))


def _contains(live: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        return isinstance(live, Mapping) and all(
            key in live and _contains(live[key], value) for key, value in wanted.items()
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


def _words(before: Manifest | None, wanted: Manifest) -> str:
    kind, name = id_of(wanted)
    if before is None:
        return f"created {kind} {name}"
    then, now = before.get("spec", {}).get("replicas"), wanted.get("spec", {}).get("replicas")
    return f"scaled {kind} {name} {then} -> {now}" if then != now else f"changed {kind} {name}"

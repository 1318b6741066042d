"""What all children share: their head, their owner, and the digest of what was applied."""

from __future__ import annotations

from typing import Any

from tertium.api.meta import Manifest, ObjectKey
from tertium.api.v1alpha1 import GROUP, KIND, VERSION
from tertium.core import names
from tertium.core.observed import Identity
from tertium.core.revision import content_digest


def child(
    owner: Identity,
    *,
    api_version: str,
    kind: str,
    name: str,
    component: str,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    **content: Any,
) -> Manifest:
    """Return a child of `owner`, stamped with the digest of its content.

    The digest shows the executor that a field was dropped, which a comparison with the live object cannot.
    """
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": owner.key.namespace,
        "labels": {**names.labels(owner.key, component), **(labels or {})},
        "ownerReferences": [owner_reference(owner)],
    }
    manifest = {"apiVersion": api_version, "kind": kind, "metadata": metadata, **content}
    digest = content_digest([manifest, annotations or {}])
    metadata["annotations"] = {**(annotations or {}), names.APPLIED_ANNOTATION: digest}
    return manifest


def owner_reference(owner: Identity) -> dict[str, Any]:
    """Return the reference by which the garbage collector deletes a child with its owner.

    It does not block the owner's deletion: that would need a right on its finalizers.
    """
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "name": owner.key.name,
        "uid": owner.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def controlled_by(manifest: Manifest, owner: Identity) -> bool:
    """Whether `owner`, and not a namesake, controls this object."""
    references = manifest["metadata"].get("ownerReferences") or ()
    return any(reference.get("controller") and reference["uid"] == owner.uid for reference in references)


def id_of(manifest: Manifest) -> tuple[str, str]:
    """Return kind and name: what children of one namespace are told apart by."""
    return (manifest["kind"], ObjectKey.of(manifest).name)

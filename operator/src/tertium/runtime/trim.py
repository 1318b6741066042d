"""What the store keeps of an object: no field that nobody reads, and one copy of every word.

At a thousand deployments the objects are most of the operator's memory. It must not know who reads them;
`tests/runtime/test_trim.py` shows that every reader finds the same in what is left.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from tertium.api.meta import Manifest
from tertium.kube.cluster import NODE, POD

_LONGEST_WORD: Final = 64
_UNREAD_METADATA: Final = ("managedFields", "selfLink")
_UNREAD_ANNOTATIONS: Final = ("kubectl.kubernetes.io/last-applied-configuration",)
_UNREAD_OF_POD: Final = ("volumes", "tolerations", "affinity", "topologySpreadConstraints")
_UNREAD_OF_CONTAINER: Final = (
    "env",
    "envFrom",
    "volumeMounts",
    "startupProbe",
    "livenessProbe",
    "readinessProbe",
    "lifecycle",
)
_READ_OF_NODE: Final = {
    "metadata": ("name", "uid", "resourceVersion", "labels", "deletionTimestamp"),
    "spec": ("unschedulable", "taints"),
    "status": ("allocatable", "capacity"),
}


def trim(manifest: Manifest) -> Manifest:
    """Return a copy without what nobody reads."""
    kind = manifest.get("kind", "")
    content = {**manifest, "metadata": _metadata(manifest["metadata"])}
    shorten = _SHORTEN.get(kind)
    kept: Manifest = _shared(shorten(content) if shorten else content)
    return kept


def _metadata(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    kept = _without(metadata, _UNREAD_METADATA)
    if "annotations" in kept:
        kept["annotations"] = _without(kept["annotations"] or {}, _UNREAD_ANNOTATIONS)
    return kept


def _pod(manifest: Manifest) -> Manifest:
    spec = _without(manifest.get("spec") or {}, _UNREAD_OF_POD)
    for part in ("containers", "initContainers"):
        if part in spec:
            spec[part] = [_without(container, _UNREAD_OF_CONTAINER) for container in spec[part]]
    return {**manifest, "spec": spec}


def _node(manifest: Manifest) -> Manifest:
    """Without conditions, addresses and images, a node's heartbeat changes nothing but its version."""
    kept = {
        part: {name: manifest[part][name] for name in names if name in manifest[part]}
        for part, names in _READ_OF_NODE.items()
        if manifest.get(part)
    }
    return {**manifest, **kept}


_SHORTEN: Final[Mapping[str, Callable[[Manifest], Manifest]]] = {POD.kind: _pod, NODE.kind: _node}


def _without(content: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name not in names}


def _shared(value: Any) -> Any:
    """Return a deep copy; equal keys and short texts are one object, whichever manifest they are in."""
    if isinstance(value, Mapping):
        return {sys.intern(name): _shared(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_shared(inner) for inner in value]
    if type(value) is str and len(value) <= _LONGEST_WORD:
        return sys.intern(value)
    return value

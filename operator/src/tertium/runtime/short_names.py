"""Who has which short name. The same order as the gateway's routes: the oldest deployment that claims it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tertium.api.meta import Manifest, ObjectKey
from tertium.core import names

_UNBORN: Final = "~"
"""Sorts behind every time of creation."""


class ShortNames:
    """An index. `put` and `drop` return the other deployments for which a name has become free or taken."""

    def __init__(self) -> None:
        self._claims: dict[str, dict[ObjectKey, str]] = {}
        self._names: dict[ObjectKey, str] = {}

    def put(self, key: ObjectKey, manifest: Manifest) -> Sequence[ObjectKey]:
        """Note what a deployment claims; one that is being deleted claims nothing any more."""
        metadata = manifest["metadata"]
        if "deletionTimestamp" in metadata:
            return self.drop(key)
        model = (manifest.get("spec") or {}).get("model") or {}
        name = names.model_names(key, model.get("servedName"))[0]
        created = metadata.get("creationTimestamp", _UNBORN)
        if self._claims.get(name, {}).get(key) == created:
            return ()
        freed = self.drop(key)
        claims = self._claims.setdefault(name, {})
        others = tuple(claims)
        claims[key] = created
        self._names[key] = name
        return (*freed, *others)

    def drop(self, key: ObjectKey) -> Sequence[ObjectKey]:
        """Forget what a deployment claimed."""
        name = self._names.pop(key, None)
        if name is None:
            return ()
        claims = self._claims[name]
        del claims[key]
        if not claims:
            del self._claims[name]
        return tuple(claims)

    def taken_by(self, key: ObjectKey) -> ObjectKey | None:
        """Return the older deployment that has the name this one claims, or None when the name is its own."""
        claims = self._claims.get(self._names.get(key, ""), {})
        first = min(claims, key=lambda other: (claims[other], other), default=key)
        return None if first == key else first

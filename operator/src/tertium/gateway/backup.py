"""What Envoy was last told, kept in the pod's memory-backed directory.

Needed when Envoy and the activator both start again while the API server cannot be asked: an Envoy that has
nothing then gets this, and serves what was awake. Everything newer comes from the API server alone.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from tertium.api.meta import ObjectKey
from tertium.core.routing import Target

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Where each name leads, and where the replicas of each deployment are."""

    targets: Mapping[str, Target]
    addresses: Mapping[ObjectKey, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class _Stored:
    targets: dict[str, Target]
    addresses: list[tuple[ObjectKey, tuple[str, ...]]]


_STORED: Final = TypeAdapter(_Stored)


def store(told: Told, path: Path) -> None:
    """Write it, whole or not at all. A failure is logged: nothing but a rare emergency depends on it."""
    stored = _Stored(dict(told.targets), list(told.addresses.items()))
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.write_bytes(_STORED.dump_json(stored))
        temporary.replace(path)
    except OSError as error:
        _log.warning("what Envoy was told is not kept", extra={"file": str(path), "why": str(error)})


def load(path: Path) -> Told | None:
    """Read it; None when there is none, or none that can be read."""
    try:
        stored = _STORED.validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        _log.warning("what Envoy was told cannot be read", extra={"file": str(path), "why": str(error)})
        return None
    return Told(targets=stored.targets, addresses=dict(stored.addresses))

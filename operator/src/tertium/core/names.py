"""Every name and label that Tertium gives, in one place.

Child names are the owner's name and a suffix. Owner names are at most 253 characters, child names at most 63
(they end up in labels and DNS), so a long one is cut; one that is changed in any way gets eight characters of
the owner's hash: distinct owners never share a child.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from tertium.api.meta import ObjectKey

MANAGED_BY: Final = "app.kubernetes.io/managed-by"
COMPONENT: Final = "app.kubernetes.io/component"
OWNER: Final = "tertium.dev/deployment"
MANAGED_SELECTOR: Final = f"{MANAGED_BY}=tertium"
ENGINE_SELECTOR: Final = f"{MANAGED_SELECTOR},{COMPONENT}=engine"

REVISION_LABEL: Final = "tertium.dev/revision"
UNVERSIONED: Final = "unversioned"
"""Stands for the revision of what was made before there were any."""
APPLIED_ANNOTATION: Final = "tertium.dev/applied"
BLUEPRINT_ANNOTATION: Final = "tertium.dev/blueprint"
SPOT_ANNOTATION: Final = "tertium.dev/spot"
DELETION_COST_ANNOTATION: Final = "controller.kubernetes.io/pod-deletion-cost"
CLAIM_PREFIX: Final = "demand.tertium.dev/"
"""Of the annotations of a demand Lease by which gateway pods state demand, one each."""
SOURCE_DIGEST_ANNOTATION: Final = "tertium.dev/source-digest"
INSPECTION: Final = "inspection"
FACTS_KEY: Final = "facts.json"
LEARNED_KEY: Final = "learned.json"

FIELD_MANAGER: Final = "tertium"
STATUS_FIELD_MANAGER: Final = "tertium-status"
SCALE_FIELD_MANAGER: Final = "tertium-scale"
DRAIN_FIELD_MANAGER: Final = "tertium-drain"
ENGINE_CONTAINER: Final = "engine"
ENGINE_PORT: Final = 8000

_LIMIT: Final = 63


def fit(text: str, limit: int = _LIMIT) -> str:
    """Return `text`, or, where it is longer than `limit`, its start and eight characters of its hash."""
    if len(text) <= limit:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{text[: limit - 9].rstrip('-.')}-{digest}"


def engine(owner: ObjectKey) -> str:
    """Name of the Service in front of all replicas."""
    return _child(owner, "engine")


def engine_revision(owner: ObjectKey, revision: str) -> str:
    """Name of the Deployment of one revision of the engine; its pods add 17 characters."""
    return _child(owner, f"engine-{revision}", _LIMIT - 17)


def demand_lease(owner: ObjectKey) -> str:
    """Name of the Lease by which the gateway states demand."""
    return _child(owner, "demand")


def facts(owner: ObjectKey) -> str:
    """Name of the ConfigMap that holds what the inspection read from the model."""
    return _child(owner, "model")


def learned(owner: ObjectKey) -> str:
    """Name of the ConfigMap that holds what the engine's starts have taught."""
    return _child(owner, "learned")


def inspection(owner: ObjectKey, source_digest: str) -> str:
    """Name of the Job that reads the model; another source is another Job."""
    return _child(owner, f"inspect-{source_digest[:8]}", _LIMIT - 6)


def labels(owner: ObjectKey, component: str) -> dict[str, str]:
    """Labels of every child of `owner`."""
    return {
        "app.kubernetes.io/name": "tertium",
        "app.kubernetes.io/instance": fit(owner.name),
        MANAGED_BY: "tertium",
        COMPONENT: component,
        OWNER: fit(owner.name),
    }


def selector(owner: ObjectKey, component: str) -> Mapping[str, str]:
    """The labels that select the pods of one component of `owner`."""
    return {OWNER: fit(owner.name), COMPONENT: component}


def selector_text(owner: ObjectKey, component: str) -> str:
    """`selector` as the scale subresource and kubectl spell it."""
    return ",".join(f"{key}={value}" for key, value in sorted(selector(owner, component).items()))


def model_names(owner: ObjectKey, served_name: str | None) -> tuple[str, str]:
    """The short and the full name by which callers address the model."""
    return (served_name or owner.name, str(owner))


def _child(owner: ObjectKey, suffix: str, limit: int = _LIMIT) -> str:
    # A Service's name holds no dots and begins with a letter; an owner's may do otherwise.
    name = owner.name.replace(".", "-")
    name = name if name[0].isalpha() else f"llm-{name}"
    full = f"{name}-{suffix}"
    if len(full) <= limit and name == owner.name:
        return full
    digest = hashlib.sha256(owner.name.encode()).hexdigest()[:8]
    room = limit - len(suffix) - 10
    return f"{name[:room].rstrip('-')}-{digest}-{suffix}"

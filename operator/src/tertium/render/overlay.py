"""The user's template over the engine's pod: named lists are merged by name, maps by key.

What the plan and Tertium decide stands in the pod already and stays: admission refuses a template that says
something else. Everything is spelled as the API server returns it, so that equal compares equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any, Final

from tertium.api.v1alpha1 import Template
from tertium.core import names
from tertium.render.quantity import canonical

_PLAIN: Final = (
    "priorityClassName",
    "runtimeClassName",
    "schedulerName",
    "serviceAccountName",
    "securityContext",
    "imagePullSecrets",
    "topologySpreadConstraints",
)
"""Parts of a pod's spec that Tertium has no word in."""
_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"


def literal(text: str) -> str:
    """Return `text` so that Kubernetes, which expands `$(NAME)`, gives it to the engine as it is."""
    return text.replace("$", "$$")


def lay_over(template: Mapping[str, Any], overlay: Template) -> dict[str, Any]:
    """Return a pod template with the overlay laid over; neither is changed."""
    wanted = _without_nulls(overlay.model_dump(mode="json", by_alias=True, exclude_none=True))
    return {
        **template,
        "metadata": _metadata(template["metadata"], wanted),
        "spec": _spec(template["spec"], wanted),
    }


def _metadata(ours: Mapping[str, Any], wanted: Mapping[str, Any]) -> Mapping[str, Any]:
    merged = {kind: {**wanted.get(kind, {}), **ours.get(kind, {})} for kind in ("labels", "annotations")}
    return {**ours, **{kind: values for kind, values in merged.items() if values}}


def _spec(ours: Mapping[str, Any], wanted: Mapping[str, Any]) -> Mapping[str, Any]:
    merged = {
        **ours,
        **{field: wanted[field] for field in _PLAIN if field in wanted},
        "containers": [_container(container, wanted) for container in ours["containers"]],
        "nodeSelector": {**wanted.get("nodeSelector", {}), **ours.get("nodeSelector", {})},
        "tolerations": _tolerations(ours.get("tolerations", ()), wanted.get("tolerations", ())),
        "volumes": _by("name", ours.get("volumes", ()), wanted.get("volumes", ())),
    }
    affinity = _affinity(ours.get("affinity", {}), wanted.get("affinity", {}))
    return {**merged, "affinity": affinity} if affinity else merged


def _container(ours: Mapping[str, Any], wanted: Mapping[str, Any]) -> Mapping[str, Any]:
    if ours["name"] != names.ENGINE_CONTAINER:
        return ours
    mounts = _by("mountPath", ours.get("volumeMounts", ()), wanted.get("volumeMounts", ()))
    return {**ours, "resources": _resources(ours["resources"], wanted), "volumeMounts": mounts}


def _resources(ours: Mapping[str, Any], wanted: Mapping[str, Any]) -> Mapping[str, Any]:
    added = wanted.get("resources", {})
    merged = {
        kind: {
            name: canonical(amount) for name, amount in {**added.get(kind, {}), **ours.get(kind, {})}.items()
        }
        for kind in ("limits", "requests")
    }
    return {kind: amounts for kind, amounts in merged.items() if amounts}


def _tolerations(ours: Sequence[Any], wanted: Sequence[Any]) -> list[Any]:
    """Return both; of a taint that the user names, only the user's."""
    named = {toleration.get("key") for toleration in wanted}
    return [*(toleration for toleration in ours if toleration.get("key") not in named), *wanted]


def _affinity(ours: Mapping[str, Any], wanted: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what asks for both. Required node terms are alternatives: each is joined with each."""
    our_terms, terms = _node_terms(ours), _node_terms(wanted)
    if not our_terms or not terms:
        node = {**wanted.get("nodeAffinity", {}), **ours.get("nodeAffinity", {})}
    else:
        joined = [_joined(one, other) for one, other in product(our_terms, terms)]
        node = {**wanted["nodeAffinity"], _REQUIRED: {"nodeSelectorTerms": joined}}
    return {**wanted, **({"nodeAffinity": node} if node else {})}


def _node_terms(affinity: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    required = affinity.get("nodeAffinity", {}).get(_REQUIRED, {})
    terms: Sequence[Mapping[str, Any]] = required.get("nodeSelectorTerms", ())
    return terms


def _joined(one: Mapping[str, Any], other: Mapping[str, Any]) -> Mapping[str, Any]:
    lists = {kind: [*one.get(kind, ()), *other.get(kind, ())] for kind in ("matchExpressions", "matchFields")}
    return {kind: entries for kind, entries in lists.items() if entries}


def _by(key: str, ours: Iterable[Mapping[str, Any]], wanted: Iterable[Mapping[str, Any]]) -> list[Any]:
    """Return both lists as one; where they have an entry of the same `key`, Tertium's."""
    taken = {entry[key]: entry for entry in ours}
    return [*taken.values(), *(entry for entry in wanted if entry[key] not in taken)]


def _without_nulls(value: Any) -> Any:
    """Return a deep copy without null fields: the API server drops them."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_nulls(item) for item in value]
    return value

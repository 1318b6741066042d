"""Rules between fields that the API server checks before an object is stored (CEL), by path in the object.

Messages say what to do. A rule is evaluated with `self` as the value at its path; absent fields have no value
there, so rules state the defaults of the models themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tertium.api.v1alpha1 import Scaling


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One CEL expression that must hold, and what to tell who breaks it."""

    expression: str
    message: str
    field: str = ""
    """Path of the field to name, relative to the rule's own; empty: the rule's own."""


_MIN: Final = Scaling.model_fields["min_replicas"].default
_MAX: Final = Scaling.model_fields["max_replicas"].default
_SEGMENT: Final = "[A-Za-z0-9_][A-Za-z0-9._-]*"

RULES: Final[Mapping[str, tuple[Rule, ...]]] = {
    "spec.model": (
        Rule(
            expression="!has(self.revision) || self.source.startsWith('hf://')",
            message="revision goes with an hf:// source only; remove it",
            field=".revision",
        ),
        Rule(
            expression="!has(self.credentialsSecretRef) || self.source.startsWith('hf://')",
            message="credentialsSecretRef goes with an hf:// source only; remove it",
            field=".credentialsSecretRef",
        ),
    ),
    "spec.model.source": (
        Rule(
            expression="self.startsWith('hf://') || self.startsWith('pvc://')",
            message="unknown scheme; use hf://ORG/NAME or pvc://CLAIM/PATH",
        ),
        Rule(
            expression=f"!self.startsWith('hf://') || self.matches('^hf://{_SEGMENT}/{_SEGMENT}$')",
            message="an hf:// source is hf://ORG/NAME, as in hf://Qwen/Qwen3-8B",
        ),
        Rule(
            expression="!self.startsWith('pvc://') || "
            f"self.matches('^pvc://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(/{_SEGMENT})+$')",
            message="a pvc:// source is pvc://CLAIM/PATH, as in pvc://models/qwen3-8b",
        ),
    ),
    "spec.scaling": (
        Rule(
            expression=f"(has(self.minReplicas) ? self.minReplicas : {_MIN}) <= "
            f"(has(self.maxReplicas) ? self.maxReplicas : {_MAX})",
            message=f"minReplicas is more than maxReplicas (default {_MAX}); lower it or raise maxReplicas",
            field=".minReplicas",
        ),
    ),
}

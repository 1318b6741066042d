"""Rules between fields that the API server checks before an object is stored (CEL), by path in the object.

Messages say what to do. A rule is evaluated with `self` as the value at its path (`[]` is every item of a
list); absent fields have no value there, so rules state the defaults of the models themselves. Only functions
that Kubernetes has had since 1.29 may be called.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tertium.api.v1alpha1 import ColdStart, Scaling


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One CEL expression that must hold, and what to tell who breaks it."""

    expression: str
    message: str
    field: str = ""
    """Path of the field to name, relative to the rule's own; empty: the rule's own."""


_MIN: Final = Scaling.model_fields["min_replicas"].default
_MAX: Final = Scaling.model_fields["max_replicas"].default
_HOLD: Final = ColdStart.model_fields["hold_seconds"].default
_MOST_GPUS: Final = 256
_SEGMENT: Final = "[A-Za-z0-9_][A-Za-z0-9._-]*"
_OWN_LABELS: Final = ("name", "instance", "component", "managed-by")


def _value(field: str, default: object) -> str:
    """The value of a field, or its default where it is absent."""
    return f"(has(self.{field}) ? self.{field} : {default})"


def _unchanged(field: str) -> str:
    """A transition rule: the field has the value it had, or is absent as it was."""
    new, old = f"self.{field}", f"oldSelf.{field}"
    return f"has({new}) == has({old}) && (!has({new}) || {new} == {old})"


_NO_GPUS: Final = Rule(
    expression="!self.exists(name, name.startsWith('nvidia.com/'))",
    message="the plan decides how many GPUs the engine gets; remove nvidia.com/..., and set "
    "spec.parallelism to pin their number",
)

RULES: Final[Mapping[str, tuple[Rule, ...]]] = {
    "spec": (
        Rule(
            expression="!has(self.deleteAfterIdleSeconds) || !has(self.scaling) || "
            "!has(self.scaling.minReplicas) || self.scaling.minReplicas == 0",
            message="a deployment that keeps replicas is never idle; set scaling.minReplicas to 0 or remove "
            "deleteAfterIdleSeconds",
            field=".deleteAfterIdleSeconds",
        ),
        Rule(
            expression="!has(self.deleteAfterIdleSeconds) || !has(self.expireAfterSeconds) || "
            "self.deleteAfterIdleSeconds < self.expireAfterSeconds",
            message="it would expire before it could be idle for so long; make deleteAfterIdleSeconds "
            "less than expireAfterSeconds, or remove one",
            field=".deleteAfterIdleSeconds",
        ),
    ),
    "spec.routing": (
        Rule(
            expression="!has(self.prefixCharacters) || (has(self.affinity) && self.affinity == 'Prefix')",
            message="prefixCharacters goes with affinity Prefix only; set affinity to Prefix or remove it",
            field=".prefixCharacters",
        ),
    ),
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
        # The older of two deployments has a name they both claim. If it could claim a name later, it would
        # take it from a younger one that has been serving it.
        Rule(
            expression=_unchanged("servedName"),
            message="servedName cannot be changed, since the older deployment has a name that two claim; "
            "delete this one and create it anew",
            field=".servedName",
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
    "spec.accelerators": (
        Rule(
            expression="self.all(a, self.exists_one(b, a.product == b.product && "
            "has(a.spot) == has(b.spot) && (!has(a.spot) || a.spot == b.spot)))",
            message="two entries are the same; remove one, or let them differ in spot",
        ),
    ),
    "spec.parallelism": (
        Rule(
            expression=f"{_value('tensor', 1)} * {_value('pipeline', 1)} <= {_MOST_GPUS}",
            message=f"tensor times pipeline is more than {_MOST_GPUS} GPUs for one replica; lower one of "
            "them",
        ),
    ),
    "spec.scaling": (
        Rule(
            expression=f"{_value('minReplicas', _MIN)} <= {_value('maxReplicas', _MAX)}",
            message=f"minReplicas is more than maxReplicas (default {_MAX}); lower it or raise maxReplicas",
            field=".minReplicas",
        ),
    ),
    "spec.coldStart": (
        Rule(
            expression="!has(self.heartbeatSeconds) || "
            f"self.heartbeatSeconds < {_value('holdSeconds', _HOLD)}",
            message=f"no sign of life would be sent within holdSeconds (default {_HOLD}); lower "
            "heartbeatSeconds or raise holdSeconds",
            field=".heartbeatSeconds",
        ),
    ),
    "spec.engine.image": (
        Rule(
            expression="!self.contains('://')",
            message="an image has no scheme; write it as in vllm/vllm-openai:v0.32.0",
        ),
    ),
    "spec.template.labels": (
        Rule(
            expression="!self.exists(key, key.startsWith('tertium.dev/')) && "
            f"!{[f'app.kubernetes.io/{name}' for name in _OWN_LABELS]}.exists(key, key in self)",
            message="tertium.dev/... and the name, instance, component and managed-by of "
            "app.kubernetes.io/ are Tertium's own labels; remove them",
        ),
    ),
    "spec.template.annotations": (
        Rule(
            expression="!self.exists(key, key.startsWith('tertium.dev/')) && "
            "!('controller.kubernetes.io/pod-deletion-cost' in self)",
            message="tertium.dev/... and controller.kubernetes.io/pod-deletion-cost are Tertium's own "
            "annotations; remove them",
        ),
    ),
    "spec.template.nodeSelector": (
        Rule(
            expression="!('nvidia.com/gpu.product' in self)",
            message="spec.accelerators chooses the GPU's product; remove nvidia.com/gpu.product",
        ),
    ),
    "spec.template.tolerations[]": (
        Rule(
            expression="has(self.key) || (has(self.operator) && self.operator == 'Exists')",
            message="a toleration of every taint has operator Exists; add it or a key",
        ),
        Rule(
            expression="!has(self.value) || !has(self.operator) || self.operator != 'Exists'",
            message="operator Exists takes no value; remove it or use Equal",
            field=".value",
        ),
        Rule(
            expression="!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            message="tolerationSeconds goes with effect NoExecute only; set it or remove tolerationSeconds",
            field=".tolerationSeconds",
        ),
    ),
    "spec.template.resources.requests": (_NO_GPUS,),
    "spec.template.resources.limits": (_NO_GPUS,),
}

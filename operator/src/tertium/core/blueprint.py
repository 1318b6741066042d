"""What an engine's pods are made of, and whether a difference is worth a restart.

A blueprint holds everything that render needs for the pod; its digest is the revision. What the user asked
for (`spec.…`) and what Tertium decided are told apart by the ingredient's name: a changed wish replaces
running replicas; a wiser plan, a newer operator or a node that joined waits until there are none, because
GPUs are scarce and nobody asked for a restart.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from tertium.api.meta import ObjectKey
from tertium.api.v1alpha1 import LLMDeploymentSpec, PlanStatus
from tertium.core.observed import Owner
from tertium.core.policy import Policy

RENDER_VERSION: Final = 1
"""Raised with every change of how a pod is made from a blueprint: such a pod is of another revision."""

Document: TypeAlias = Mapping[str, str]
"""Ingredients by name, as short text."""

_USER: Final = "spec."
_ENV: Final = "spec.engine.env["
_SECRET_OPTION: Final = re.compile(r"^(--?[\w-]*(?:key|token|secret|password)[\w-]*)(=.*)?$", re.IGNORECASE)
_KEPT: Final = 200
_SHOWN: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """The ingredients of an engine's pod."""

    key: ObjectKey
    spec: LLMDeploymentSpec
    plan: PlanStatus
    resource: str
    """What the pod asks the scheduler for to get a GPU."""
    spot: bool | None
    """Whether it asks for nodes the cloud may take back; None: it does not care."""
    model_revision: str
    """The commit the inspection resolved; empty: the source has none."""
    image: str
    hub_endpoint: str

    @classmethod
    def of(
        cls,
        owner: Owner,
        plan: PlanStatus,
        *,
        resource: str,
        spot: bool | None,
        model_revision: str,
        policy: Policy,
    ) -> Blueprint:
        """Return what the pods of `owner` are made of when they run by `plan`."""
        return cls(
            key=owner.key,
            spec=owner.spec,
            plan=plan,
            resource=resource,
            spot=spot,
            model_revision=model_revision or owner.spec.model.revision or "",
            image=owner.spec.engine.image or policy.engine_image,
            hub_endpoint=policy.hub_endpoint,
        )

    @property
    def document(self) -> Document:
        """Every ingredient, and what the planner was asked, by the name a user knows."""
        return {**wish(self.spec), **{name: _short(name, value) for name, value in self._decided()}}

    @property
    def revision(self) -> str:
        """Digest of what the pod is made of. What only the planner was asked is in it by the plan's flags."""
        return _digest([*_literal(self.spec), *self._decided()])

    def _decided(self) -> Iterator[tuple[str, Any]]:
        """Yield what Tertium chose; no name may start with `spec.`."""
        yield "the plan's accelerator", self.plan.accelerator
        if self.spot is not None:
            yield "the plan's spot nodes", self.spot
        yield f"the plan's {self.resource}", self.plan.gpus_per_replica
        for flag in self.plan.flags:
            option, _, value = flag.partition("=")
            yield f"the plan's {option}", value
        if self.model_revision:
            yield "the model's commit", self.model_revision
        if self.spec.engine.image is None:
            yield "the operator's engine image", self.image
        if self.spec.model.source.startswith("hf://"):
            yield "the operator's hub endpoint", self.hub_endpoint
        yield "the operator's way to make pods", RENDER_VERSION


def wish(spec: LLMDeploymentSpec) -> Document:
    """Return what the user asked for as far as pods depend on it; absent fields are left out."""
    return {name: _short(name, value) for name, value in (*_literal(spec), *_asked(spec))}


def wishes(document: Document) -> Document:
    """Return the part of a blueprint's document that the user asked for."""
    return {name: value for name, value in document.items() if name.startswith(_USER)}


def first_difference(old: Document, new: Document) -> str:
    """Say in which ingredient two blueprints differ first, the user's own before Tertium's; empty: in none.

    An empty `old` is one that was made before blueprints were kept.
    """
    if not old:
        return "the running replicas were made by an earlier version of Tertium"
    for name in sorted({**new, **old}, key=lambda name: not name.startswith(_USER)):
        before, after = old.get(name), new.get(name)
        if before != after:
            if name.startswith(_ENV):
                return f"{name}: its value is another"
            return f"{name}: {_excerpt(before)} -> {_excerpt(after)}"
    return ""


def _literal(spec: LLMDeploymentSpec) -> Iterator[tuple[str, Any]]:
    """Yield what a pod carries word for word."""
    model, engine = spec.model, spec.engine
    yield "spec.model.source", model.source
    if model.credentials_secret_ref is not None:
        yield "spec.model.credentialsSecretRef", model.credentials_secret_ref.name
    if model.served_name is not None:
        yield "spec.model.servedName", model.served_name
    if engine.image is not None:
        yield "spec.engine.image", engine.image
    if engine.args:
        yield "spec.engine.args", list(engine.args)
    for variable in engine.env:
        yield f"{_ENV}{variable.name}]", variable.value
    yield "spec.rollout.drainSeconds", spec.rollout.drain_seconds
    overlay = spec.template.model_dump(mode="json", by_alias=True, exclude_none=True)
    for field, value in overlay.items():
        yield f"spec.template.{field}", value


def _asked(spec: LLMDeploymentSpec) -> Iterator[tuple[str, Any]]:
    """Yield what the plan and the inspection answer to: the pod carries their answers instead."""
    yield "spec.capacity.contextTokens", spec.capacity.context_tokens
    yield "spec.capacity.concurrentSequences", spec.capacity.concurrent_sequences
    if spec.model.revision is not None:
        yield "spec.model.revision", spec.model.revision
    if spec.parallelism.tensor is not None:
        yield "spec.parallelism.tensor", spec.parallelism.tensor
    if spec.parallelism.pipeline is not None:
        yield "spec.parallelism.pipeline", spec.parallelism.pipeline
    yield "spec.precision.kvCache", spec.precision.kv_cache


def _short(name: str, value: Any) -> str:
    """Return a value as text that fits an annotation beside all others and shows no secret.

    What is cut or hidden is told apart by its digest.
    """
    if name.startswith(_ENV):
        return f"sha256:{_digest(value)}"
    whole = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    shown = json.dumps(_hidden(value), ensure_ascii=False) if isinstance(value, list) else whole
    if len(shown) > _KEPT or shown != whole:
        return f"{shown[:_KEPT]}… sha256:{_digest(value)}"
    return shown


def _hidden(arguments: Sequence[Any]) -> list[Any]:
    """Return arguments without the values of options that sound like secrets."""
    found = [
        (argument, _SECRET_OPTION.match(argument)) for argument in arguments if isinstance(argument, str)
    ]
    if len(found) < len(arguments):
        return list(arguments)
    follows = [False, *(bool(match and not match[2]) for _, match in found)]
    return [
        "…" if secret else f"{match[1]}=…" if match and match[2] else argument
        for (argument, match), secret in zip(found, follows, strict=False)
    ]


def _excerpt(value: str | None) -> str:
    if value is None:
        return "(none)"
    return value if len(value) <= _SHOWN else f"{value[:_SHOWN]}…"


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:8]

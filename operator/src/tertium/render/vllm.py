"""The engine's command line and environment: from a blueprint, sorted and stable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tertium.api.v1alpha1 import Model
from tertium.core import names
from tertium.core.blueprint import Blueprint
from tertium.core.source import ClaimSource, parse_source
from tertium.render.overlay import literal

MODELS_PATH: Final = "/models"
CACHE_PATH: Final = "/cache"
TOKEN_KEY: Final = "token"


def arguments(blueprint: Blueprint) -> list[str]:
    """Return what follows `vllm serve`; the user's own arguments come last."""
    spec = blueprint.spec
    source = parse_source(spec.model.source)
    in_claim = isinstance(source, ClaimSource)
    revision = "" if in_claim else blueprint.model_revision
    own = [
        f"{MODELS_PATH}/{source.path}" if isinstance(source, ClaimSource) else source.repository,
        "--served-model-name",
        *names.model_names(blueprint.key, spec.model.served_name),
        "--port",
        str(names.ENGINE_PORT),
        # The default of 0 would cut answers off when a replica is told to stop.
        f"--shutdown-timeout={spec.rollout.drain_seconds}",
        *([f"--revision={revision}"] if revision else []),
        *blueprint.plan.flags,
    ]
    return [literal(argument) for argument in (*own, *spec.engine.args)]


def environment(blueprint: Blueprint) -> list[Mapping[str, Any]]:
    """Return the engine's environment by name; the user's variables win over ours."""
    spec = blueprint.spec
    in_claim = reads_claim(spec.model)
    own = {} if in_claim else {"HF_HOME": CACHE_PATH, "HF_ENDPOINT": blueprint.hub_endpoint}
    plain = own | {item.name: item.value for item in spec.engine.env}
    entries = {name: variable(name, literal(value)) for name, value in plain.items()}
    return [entry for _, entry in sorted({**token(spec.model), **entries}.items())]


def variable(name: str, value: str) -> Mapping[str, Any]:
    """Return a variable as the API server keeps it: it drops an empty value."""
    return {"name": name, "value": value} if value else {"name": name}


def token(model: Model) -> Mapping[str, Mapping[str, Any]]:
    """Return the variable that carries the hub's token, by name; none without a Secret."""
    secret = model.credentials_secret_ref
    if secret is None:
        return {}
    reference = {"secretKeyRef": {"name": secret.name, "key": TOKEN_KEY}}
    return {"HF_TOKEN": {"name": "HF_TOKEN", "valueFrom": reference}}


def reads_claim(model: Model) -> bool:
    """Whether the model lies in a PersistentVolumeClaim."""
    return isinstance(parse_source(model.source), ClaimSource)


def claim_volume(model: Model, name: str) -> Mapping[str, Any] | None:
    """Return the volume of the model's claim, or None for a model of a hub."""
    source = parse_source(model.source)
    if not isinstance(source, ClaimSource):
        return None
    return {"name": name, "persistentVolumeClaim": {"claimName": source.claim, "readOnly": True}}

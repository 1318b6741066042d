"""The engine's command line and environment: from the plan and the spec, sorted and stable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tertium.core import names
from tertium.core.observed import Owner
from tertium.core.planner import Sizing
from tertium.core.policy import Policy
from tertium.core.source import ClaimSource, parse_source

MODELS_PATH: Final = "/models"
CACHE_PATH: Final = "/cache"
DRAIN_SECONDS: Final = 120
TOKEN_KEY: Final = "token"


def arguments(owner: Owner, sizing: Sizing, resolved_revision: str) -> list[str]:
    """Return what follows `vllm serve`; the user's own arguments come last."""
    source = parse_source(owner.spec.model.source)
    in_claim = isinstance(source, ClaimSource)
    revision = "" if in_claim else resolved_revision or owner.spec.model.revision or ""
    return [
        f"{MODELS_PATH}/{source.path}" if isinstance(source, ClaimSource) else source.repository,
        "--served-model-name",
        *names.model_names(owner.key, owner.spec.model.served_name),
        "--port",
        str(names.ENGINE_PORT),
        # The default of 0 would cut answers off when a replica is told to stop.
        f"--shutdown-timeout={DRAIN_SECONDS}",
        *([f"--revision={revision}"] if revision else []),
        *sizing.flags,
        *owner.spec.engine.args,
    ]


def environment(owner: Owner, policy: Policy) -> list[Mapping[str, Any]]:
    """Return the engine's environment by name; the user's variables win over ours."""
    own = {} if reads_claim(owner) else {"HF_HOME": CACHE_PATH, "HF_ENDPOINT": policy.hub_endpoint}
    plain = own | {variable.name: variable.value for variable in owner.spec.engine.env}
    entries = {name: variable(name, value) for name, value in plain.items()}
    return [entry for _, entry in sorted({**token(owner), **entries}.items())]


def variable(name: str, value: str) -> Mapping[str, Any]:
    """Return a variable as the API server keeps it: it drops an empty value."""
    return {"name": name, "value": value} if value else {"name": name}


def token(owner: Owner) -> Mapping[str, Mapping[str, Any]]:
    """Return the variable that carries the hub's token, by name; none without a Secret."""
    secret = owner.spec.model.credentials_secret_ref
    if secret is None:
        return {}
    reference = {"secretKeyRef": {"name": secret.name, "key": TOKEN_KEY}}
    return {"HF_TOKEN": {"name": "HF_TOKEN", "valueFrom": reference}}


def reads_claim(owner: Owner) -> bool:
    """Whether the model lies in a PersistentVolumeClaim."""
    return isinstance(parse_source(owner.spec.model.source), ClaimSource)


def claim_volume(owner: Owner, name: str) -> Mapping[str, Any] | None:
    """Return the volume of the model's claim, or None for a model of a hub."""
    source = parse_source(owner.spec.model.source)
    if not isinstance(source, ClaimSource):
        return None
    return {"name": name, "persistentVolumeClaim": {"claimName": source.claim, "readOnly": True}}

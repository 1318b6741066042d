"""All that one decision rests on, as a file: to explain it later, elsewhere, without the cluster.

It holds no Secret: the operator reads none. Values of environment variables are left out unless asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import Field, ValidationError

from tertium.api.conditions import Reason
from tertium.api.meta import ApiModel, Manifest, ObjectKey
from tertium.core import names
from tertium.core.errors import Terminal
from tertium.core.load import Reports
from tertium.core.policy import Policy
from tertium.core.preparation import prepared_since
from tertium.kube.cluster import EVENT, LLM_DEPLOYMENT, NODE, POD, Cluster
from tertium.runtime.relist import CHILD_KINDS
from tertium.runtime.trim import trim

REDACTED: Final = "<redacted>"


class Snapshot(ApiModel):
    """The world as far as one deployment is concerned, at one moment."""

    taken_at: datetime
    policy: Policy
    reports: Reports | None = None
    logs: dict[str, str] = Field(default_factory=dict)
    """By `POD/CONTAINER/(current|previous)/(beginning|end)`: the logs a decision asked for."""
    objects: list[dict[str, Any]] = Field(default_factory=list)

    def owner(self) -> ObjectKey:
        """Return the deployment it is about: the first one in it."""
        for manifest in self.objects:
            if manifest.get("kind") == LLM_DEPLOYMENT.kind:
                return ObjectKey.of(manifest)
        raise Terminal(Reason.INVALID, f"the snapshot has no {LLM_DEPLOYMENT.kind} in `objects`")


async def take_snapshot(
    cluster: Cluster, key: ObjectKey, policy: Policy, now: datetime, *, reports: Reports | None
) -> Snapshot:
    """Read what a decision about one deployment rests on; the deployment itself need not exist.

    Raises `Retryable` or `Terminal` as the reads do.
    """
    owners = await cluster.list(LLM_DEPLOYMENT)
    own = [manifest for manifest in owners if ObjectKey.of(manifest) == key]
    others = [manifest for manifest in owners if ObjectKey.of(manifest) != key]
    labels = f"{names.MANAGED_SELECTOR},{names.OWNER}={names.fit(key.name)}"
    children: list[Manifest] = []
    for kind in CHILD_KINDS:
        children += await cluster.list(kind, namespace=key.namespace, labels=labels)
    events = [
        event
        for child in children
        if child["kind"] == POD.kind and prepared_since(child) is not None
        for event in await cluster.list(
            EVENT, namespace=key.namespace, fields=f"involvedObject.uid={child['metadata']['uid']}"
        )
    ]
    nodes = await cluster.list(NODE)
    objects = [*own, *children, *events, *nodes, *map(_claim, others)]
    return Snapshot(
        taken_at=now, policy=policy, reports=reports, objects=[dict(trim(found)) for found in objects]
    )


def read_snapshot(path: Path) -> Snapshot:
    """Read a file that `write_snapshot` wrote. Raises `Terminal` naming what is wrong with it."""
    try:
        return Snapshot.model_validate(yaml.safe_load(path.read_text()))
    except (OSError, yaml.YAMLError) as error:
        raise Terminal(Reason.INVALID, f"{path}: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise Terminal(Reason.INVALID, f"{path}: {where}: {first['msg']}; is it a snapshot?") from error


def write_snapshot(snapshot: Snapshot, path: Path, *, values: bool) -> None:
    """Write the file, with the values of environment variables only where asked for.

    Raises `Terminal` when the file cannot be written.
    """
    content = snapshot.model_dump(mode="json", by_alias=True)
    if not values:
        content["objects"] = [_redacted(manifest) for manifest in content["objects"]]
    try:
        path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    except OSError as error:
        raise Terminal(Reason.INVALID, f"{path}: {error.strerror}") from error


def is_redacted(snapshot: Snapshot) -> bool:
    """Whether values were left out: revisions made from it differ from those of the cluster."""
    return any(REDACTED in str(manifest) for manifest in snapshot.objects)


def _claim(owner: Manifest) -> Manifest:
    """Return another deployment as far as it claims a name."""
    model = (owner.get("spec") or {}).get("model") or {}
    named = {"servedName": model["servedName"]} if "servedName" in model else {}
    return {**owner, "spec": {"model": named}, "status": {}}


def _redacted(content: Any) -> Any:
    if isinstance(content, Mapping):
        hidden = {"env": list(map(_valueless, content["env"]))} if _is_list(content.get("env")) else {}
        return {name: _redacted(value) for name, value in content.items()} | hidden
    return [_redacted(item) for item in content] if _is_list(content) else content


def _valueless(variable: Any) -> Any:
    hidden = isinstance(variable, Mapping) and "value" in variable
    return {**variable, "value": REDACTED} if hidden else variable


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)

"""Many LLMDeployments at once, whose models count as inspected: no Job runs for each of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from e2e.fleet.api import CORE, LLMDS, Api, path_of
from e2e.fleet.plane import Plane, deployment
from e2e.waiting import until

PATTERN: Final = "pattern"
_THREADS: Final = 8


class Crowd:
    """The deployments of one namespace; all are like the first, which the operator has inspected itself."""

    def __init__(self, plane: Plane, namespace: str, **spec: Any) -> None:
        self._api = plane.api
        self.namespace = namespace
        self.names = [PATTERN]
        self._spec = spec
        plane.add_namespace(namespace)
        self._api.create(path_of(LLMDS, namespace, "llmdeployments"), self._manifest(PATTERN))
        until("the pattern is Ready", lambda: not self.unready(), seconds=60)
        self._facts = self._api.get(path_of(CORE, namespace, "configmaps", f"{PATTERN}-model"))

    def grow(self, size: int) -> None:
        """Add deployments until there are `size`; an operator need not run."""
        names = [f"model-{index:04d}" for index in range(len(self.names), size)]
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(self._add, names))
        self.names += names

    def unready(self) -> list[str]:
        """Return the names of those that do not say Ready of their present spec."""
        return [
            manifest["metadata"]["name"]
            for manifest in self._api.items(path_of(LLMDS, self.namespace, "llmdeployments"))
            if not is_ready(manifest)
        ]

    def change(self, name: str, spec: dict[str, Any]) -> None:
        """Change fields of a deployment's spec."""
        self._api.merge(path_of(LLMDS, self.namespace, "llmdeployments", name), {"spec": spec})

    def _add(self, name: str) -> None:
        made = self._api.create(path_of(LLMDS, self.namespace, "llmdeployments"), self._manifest(name))
        keep_facts(self._api, self._facts, made)

    def _manifest(self, name: str) -> dict[str, Any]:
        return deployment(name, self.namespace, **self._spec)


def keep_facts(api: Api, pattern: dict[str, Any], owner: dict[str, Any]) -> None:
    """Store for `owner` what an inspection found for another deployment of the same source."""
    name, uid = owner["metadata"]["name"], owner["metadata"]["uid"]
    old = pattern["metadata"]["ownerReferences"][0]
    content = {field: pattern["metadata"][field] for field in ("name", "labels", "annotations")}
    content["ownerReferences"] = [old]
    content["namespace"] = owner["metadata"]["namespace"]
    text = json.dumps(content).replace(old["uid"], uid).replace(f'"{old["name"]}', f'"{name}')
    metadata = json.loads(text)
    path = path_of(CORE, metadata["namespace"], "configmaps", metadata["name"])
    stored = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": pattern["data"]}
    api.apply(path, stored, manager="tertium")


def conditions(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the conditions by type."""
    found: Iterable[dict[str, Any]] = manifest.get("status", {}).get("conditions", ())
    return {condition["type"]: condition for condition in found}


def is_ready(manifest: dict[str, Any]) -> bool:
    """Whether a deployment says Ready of its present spec."""
    ready = conditions(manifest).get("Ready", {})
    same = ready.get("observedGeneration") == manifest["metadata"]["generation"]
    return bool(same) and ready["status"] == "True"

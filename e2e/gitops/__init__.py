"""Flux and Argo CD at work on a cluster, and their judgement of an object, by their own code.

Neither is installed for that: one Go program is started and its answers are read.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import yaml

from e2e.cluster import Cluster, binaries
from e2e.cluster.binaries import GoProgram
from e2e.cluster.progress import Steps
from e2e.cluster.shell import sh

GITOPS: Final = GoProgram(name="gitops", module=Path(__file__).resolve().parent / "go")
KUBECTL: Final = "kubectl"
ENGINES: Final = ("flux", "argocd", "argocd-ssa", KUBECTL)
"""Argo CD patches three-way by default and applies server-side where asked, as kubectl always does here."""

_KUBECTL_MANAGER: Final = "platform-team"
_MANAGERS: Final = ("kustomize-controller", "argocd-controller", _KUBECTL_MANAGER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What Argo CD and kstatus, which Flux relies on, make of one object."""

    argocd: str
    argocd_message: str
    kstatus: str


class Engine(Protocol):
    """What keeps a cluster as the documents of a repository say."""

    @property
    def name(self) -> str:
        """Its name, one of ENGINES."""

    def apply(self, documents: str) -> None:
        """Apply YAML documents as a synchronisation does."""

    def drift(self, documents: str) -> list[str]:
        """Return in words where the cluster is not what the documents say; empty: nowhere."""

    def delete(self, documents: str) -> None:
        """Delete what the documents name and wait until it is gone."""


def engine_named(cluster: Cluster, name: str) -> Engine:
    """Return the engine of that name, at work on the cluster."""
    return Kubectl(cluster=cluster) if name == KUBECTL else Controller(cluster=cluster, name=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Controller:
    """The part of Flux or Argo CD that writes."""

    cluster: Cluster
    name: str

    def apply(self, documents: str) -> None:
        """Apply as its controller does."""
        self._act("apply", documents)

    def drift(self, documents: str) -> list[str]:
        """Compare as its controller does."""
        answers = self._act("diff", documents)
        return [
            f"{answer['object']}: {json.dumps(answer.get('change'))}"
            for answer in answers
            if answer["action"] != "unchanged"
        ]

    def delete(self, documents: str) -> None:
        """Delete as its controller does."""
        self._act("delete", documents)

    def _act(self, verb: str, documents: str) -> list[dict[str, Any]]:
        return _run(self.name, verb, documents=documents, cluster=self.cluster)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubectl:
    """Server-side apply by a field manager of its own: what any other tool comes down to."""

    cluster: Cluster
    name: str = KUBECTL

    def apply(self, documents: str) -> None:
        """Apply, without taking fields by force unless somebody changed them."""
        self._server_side("apply", documents)

    def drift(self, documents: str) -> list[str]:
        """Compare with a dry run of the API server."""
        try:
            self._server_side("diff", documents)
        except subprocess.CalledProcessError as differs:
            if differs.returncode != 1:
                raise
            return [str(differs.stdout)]
        return []

    def delete(self, documents: str) -> None:
        """Delete and wait."""
        self.cluster.kubectl("delete", "-f", "-", "--wait", input=documents)

    def _server_side(self, verb: str, documents: str) -> None:
        how = ("--server-side", "--force-conflicts", f"--field-manager={_KUBECTL_MANAGER}")
        self.cluster.kubectl(verb, *how, "-f", "-", input=documents)


def release(cluster: Cluster, documents: str) -> None:
    """Take every engine out of the objects' metadata, so that their former owner may change them again."""
    _run("release", *_MANAGERS, documents=documents, cluster=cluster)


def health(argocd_cm: Path, objects: Iterable[Mapping[str, Any]]) -> list[Health]:
    """Judge objects with Argo CD as the ConfigMap `argocd_cm` configures it, and with kstatus."""
    return [
        Health(
            argocd=answer["argocd"]["status"],
            argocd_message=answer["argocd"]["message"],
            kstatus=answer["kstatus"]["status"],
        )
        for answer in _run("health", argocd_cm, documents=yaml.safe_dump_all(objects))
    ]


def program() -> Path:
    """Return the program, built if the cache lacks it, which takes minutes."""
    return binaries.build([GITOPS], Steps())[GITOPS.name]


def _run(*words: str | Path, documents: str, cluster: Cluster | None = None) -> list[dict[str, Any]]:
    environment = {"KUBECONFIG": str(cluster.kubeconfig) if cluster else os.devnull}
    return [json.loads(line) for line in sh(program(), *words, input=documents, env=environment).splitlines()]

"""A control plane with fake nodes, Tertium's API and rights on it, and the operator run beside it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from e2e.cluster import Cluster, ClusterError
from e2e.cluster.local.backend import LocalBackend
from e2e.cluster.local.layout import CONTROL_GROUP
from e2e.cluster.local.processes import Processes
from e2e.cluster.progress import Steps
from e2e.fleet import kwok
from e2e.fleet.api import CORE, Api
from e2e.fleet.audit import Audit
from e2e.fleet.nursery import Nursery
from e2e.fleet.operator import OperatorProcess, free_port
from e2e.waiting import until

ROOT: Final = Path(__file__).resolve().parents[2]
SYSTEM: Final = "tertium-system"
ACCOUNT: Final = "tertium-operator"
SOURCE: Final = "hf://HuggingFaceTB/SmolLM2-135M-Instruct"
NODES: Final = 32
HEALTH_PORT: Final = "TERTIUM_HEALTH_PORT"
_RIGHTS: Final = {
    *("CustomResourceDefinition", "ServiceAccount"),
    *("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"),
}
_ENGINE_LOG: Final = (
    "(EngineCore pid=97) ERROR 11-21 22:04:41 [core.py:1100] torch.OutOfMemoryError: CUDA out of memory. "
    "Tried to allocate 784.00 MiB. GPU 0 has a total capacity of 23.50 GiB"
)


class Plane:
    """One running control plane. `api` is the administrator's client, not the product's."""

    def __init__(self, cluster: Cluster, backend: LocalBackend, chart: Sequence[dict[str, Any]]) -> None:
        self.cluster = cluster
        self.api = Api(backend)
        self.address = backend.addresses.machine
        self._backend = backend
        self._operators: list[OperatorProcess] = []
        self._container = _operator_container(chart)

    @classmethod
    def up(cls, name: str, *, nodes: int = NODES) -> Plane:
        """Start it afresh: no object of an earlier run is there. Raises ClusterError where it cannot run."""
        cluster = Cluster(name, LocalBackend(name))
        cluster.down()
        cluster = Cluster.up(name, backend="local", nodes=0)
        if not isinstance(cluster.backend, LocalBackend):
            raise ClusterError(f"cluster {name}: a control plane alone needs the local back end")
        chart = list(filter(None, yaml.safe_load_all(_rendered(cluster))))
        plane = cls(cluster, cluster.backend, chart)
        logs = {"inspect": _inspection(), "engine": _ENGINE_LOG}
        kwok.start(cluster.backend, Steps(), logs=logs)
        kwok.add_nodes(plane.api, plane.address, nodes)
        plane.add_namespace(SYSTEM)
        rights = [manifest for manifest in chart if manifest["kind"] in _RIGHTS]
        cluster.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump_all(rights))
        cluster.kubectl("wait", "--for=condition=Established", "crd/llmdeployments.tertium.dev")
        return plane

    def audit(self) -> Audit:
        """Return what Tertium asks of the API server from now on."""
        return Audit(self._backend.layout.audit)

    def add_namespace(self, name: str) -> None:
        """Make a namespace in which pods can be made."""
        self.api.create(f"{CORE}/namespaces", {"metadata": {"name": name}})
        account = f"{CORE}/namespaces/{name}/serviceaccounts/default"
        until(f"account of {name}", lambda: self.api.find(account), seconds=20, every=0.05)

    def operator(
        self,
        *,
        server: str | None = None,
        environment: Mapping[str, str] | None = None,
        name: str = "operator",
    ) -> OperatorProcess:
        """Start an operator with the chart's rights, in a pod `name`; `server` stands for the API server."""
        log, port = self._log(name), free_port()
        values = {**self._environment(server, name), **(environment or {}), HEALTH_PORT: str(port)}
        words = [f"{variable}={value}" for variable, value in values.items()]
        command = ["env", *words, sys.executable, "-m", "tertium", *self._container["args"]]
        pid = Processes(self._backend.layout).start(log.stem, CONTROL_GROUP, command)
        self._operators.append(OperatorProcess(pid, log, port))
        return self._operators[-1]

    def nursery(self, *, server: str) -> Nursery:
        """Start what forks operators that talk to `server`, all in a pod of one name."""
        layout, environment = self._backend.layout, self._environment(server, "operator")
        return Nursery(Processes(layout), layout.conf / "orders", environment, self._container["args"])

    def fork(self, nursery: Nursery) -> OperatorProcess:
        """Start an operator that is loaded already."""
        log, port = self._log("forked"), free_port()
        self._operators.append(OperatorProcess(nursery.fork(log, {HEALTH_PORT: str(port)}), log, port))
        return self._operators[-1]

    def kill_operators(self) -> None:
        """End every operator that still runs."""
        for operator in self._operators:
            operator.kill()

    def down(self) -> None:
        """Stop everything, operators too."""
        self.api.close()
        self.cluster.down()

    def _log(self, name: str) -> Path:
        path = self._backend.layout.log / f"{name}-{len(self._operators)}.log"
        path.unlink(missing_ok=True)
        return path

    def _environment(self, server: str | None, pod: str) -> dict[str, str]:
        """Return what the chart sets for the operator's container, and the way to the API server."""
        values = {
            variable["name"]: variable.get("value") or _downward(variable, pod)
            for variable in self._container["env"]
        }
        return {**values, "KUBECONFIG": str(self._kubeconfig(server))}

    def _kubeconfig(self, server: str | None) -> Path:
        """Write a kubeconfig with a token of the operator's account; a server in plain HTTP needs no CA."""
        words = ("-n", SYSTEM, "create", "token", ACCOUNT, "--duration=12h")
        config = json.loads(self._backend.kubeconfig.read_text())
        config["users"][0]["user"] = {"token": self.cluster.kubectl(*words).strip()}
        if server is not None:
            config["clusters"][0]["cluster"] = {"server": server}
        path = self._backend.layout.conf / f"operator{'-by-proxy' if server else ''}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(json.dumps(config))
        return path


def deployment(name: str, namespace: str, **spec: Any) -> dict[str, Any]:
    """Return an LLMDeployment for the fake nodes; `spec` replaces whole fields."""
    minimal = {
        "model": {"source": SOURCE},
        "capacity": {"contextTokens": 2048, "concurrentSequences": 4},
        "accelerators": [{"product": kwok.PRODUCT}],
        "engine": {"image": "fake/engine"},
    }
    return {
        "apiVersion": "tertium.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {**minimal, **spec},
    }


def _rendered(cluster: Cluster) -> str:
    return cluster.helm("template", "tertium", str(ROOT / "charts" / "tertium"), "--namespace", SYSTEM)


def _operator_container(chart: Sequence[dict[str, Any]]) -> dict[str, Any]:
    for manifest in chart:
        if manifest["kind"] == "Deployment" and manifest["metadata"]["name"] == ACCOUNT:
            container: dict[str, Any] = manifest["spec"]["template"]["spec"]["containers"][0]
            return container
    raise ClusterError(f"the chart has no Deployment {ACCOUNT}")


def _downward(variable: Mapping[str, Any], pod: str) -> str:
    """Return what the kubelet would put into a variable."""
    path = variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
    return {"metadata.name": pod, "metadata.namespace": SYSTEM}.get(path, "")


def _inspection() -> str:
    """Return what the inspection of a real model prints; its files are here, not on a hub."""
    models = _last_line("-m", "e2e.models")
    return _last_line("-m", "tertium", "inspect", "pvc://models/smollm2-135m-instruct", "--mount", models)


def _last_line(*tool: str) -> str:
    done = subprocess.run([sys.executable, *tool], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip().splitlines()[-1]

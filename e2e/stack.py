"""Tertium installed by its chart on a running cluster, and what a user sees of a deployment there."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import yaml

from e2e.caller import Answer, Caller
from e2e.cluster import Cluster, binaries
from e2e.cluster.cache import cache_root
from e2e.cluster.progress import Steps
from e2e.environment import Environment
from e2e.waiting import until
from tertium.api.meta import parse_time
from tertium.core.demand import claims_of

ROOT: Final = Path(__file__).resolve().parents[1]
SAMPLES: Final = ROOT / "e2e" / "samples"
SYSTEM: Final = "tertium-system"
ENGINE_IMAGE: Final = "localhost/tertium-engine-cpu:dev"
DOUBLE_IMAGE: Final = "localhost/tertium-engine-double:dev"
IDLE: Final = "Idle"
OWNED_KINDS: Final = "deployments,replicasets,pods,services,leases,configmaps,jobs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """One cluster with Tertium on it."""

    cluster: Cluster
    caller: Caller

    @property
    def retrying_caller(self) -> Caller:
        """A caller that asks again when the connection breaks before the answer, as SDKs do: twice."""
        return replace(self.caller, retries=2)

    def apply(self, manifest: str) -> Sample:
        """Apply one LLMDeployment that names its namespace."""
        self.cluster.kubectl("apply", "-f", "-", input=manifest)
        metadata = yaml.safe_load(manifest)["metadata"]
        return Sample(cluster=self.cluster, namespace=metadata["namespace"], name=metadata["name"])

    def apply_sample(
        self,
        sample: str,
        namespace: str,
        *,
        idle_seconds: int | None = None,
        engine: dict[str, Any] | None = None,
    ) -> Sample:
        """Apply a manifest of `samples/` in `namespace`, with another idle time or engine where given."""
        manifest = yaml.safe_load((SAMPLES / f"{sample}.yaml").read_text())
        manifest["metadata"]["namespace"] = namespace
        if idle_seconds is not None:
            manifest["spec"]["scaling"]["idleSeconds"] = idle_seconds
        if engine is not None:
            manifest["spec"]["engine"] = engine
        return self.apply(yaml.safe_dump(manifest))

    def refused(self, manifest: str) -> str:
        """Apply a manifest that the API server must refuse; return kubectl's words."""
        command = ["apply", "--validate=strict", "-f", "-"]
        try:
            self.cluster.kubectl(*command, input=manifest)
        except subprocess.CalledProcessError as error:
            return str(error.stderr)
        raise AssertionError("kubectl accepted what it must refuse")

    def caller_until_routed(self, model: str, *, seconds: float = 20, **fields: Any) -> Answer:
        """Ask for a model that was applied a moment ago, until the gateway has read of it and told Envoy."""

        def ask() -> Answer | None:
            answer = self.caller.chat(model, **fields)
            message = answer.body.get("error", {}).get("message", "")
            return (
                None if message.endswith(("lists those that do.", "was just created. Try again.")) else answer
            )

        return until(f"a route for {model}", ask, seconds=seconds, every=0.05)

    def pods(self, component: str) -> list[str]:
        """Names of the pods of a component of Tertium itself, without those that are on their way out."""
        selector = f"app.kubernetes.io/component={component}"
        text = self.cluster.kubectl("-n", SYSTEM, "get", "pods", "-l", selector, "-o", "json")
        pods = [pod["metadata"] for pod in json.loads(text)["items"]]
        return [pod["name"] for pod in pods if "deletionTimestamp" not in pod]

    def pod_address(self, name: str) -> str:
        """The address of a pod of Tertium itself, for requests past the Service."""
        return self.cluster.kubectl("-n", SYSTEM, "get", "pod", name, "-o", "jsonpath={.status.podIP}")

    def kill_pods(self, *names: str) -> None:
        """Kill pods of Tertium itself without a chance to tidy up."""
        self.cluster.kubectl("-n", SYSTEM, "delete", "pod", "--grace-period=0", "--force", *names)

    def kubectl_process(self, *args: str) -> subprocess.Popen[str]:
        """Start kubectl and leave it running, its output in a pipe; the caller ends it."""
        program = binaries.build([binaries.KUBE], Steps(quiet=True))["kubectl"]
        environment = os.environ | {"KUBECONFIG": str(self.cluster.kubeconfig)}
        return subprocess.Popen([str(program), *args], env=environment, stdout=subprocess.PIPE, text=True)

    def logs(self, component: str, container: str) -> list[dict[str, Any]]:
        """The JSON log lines of all pods of a component."""
        selector = f"app.kubernetes.io/component={component}"
        text = self.cluster.kubectl("-n", SYSTEM, "logs", "-l", selector, "-c", container, "--tail=-1")
        lines = (line for line in text.splitlines() if line.startswith("{"))
        return [json.loads(line) for line in lines]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One LLMDeployment as kubectl shows it."""

    cluster: Cluster
    namespace: str
    name: str

    @property
    def model(self) -> str:
        """The full name by which callers address it."""
        return f"{self.namespace}/{self.name}"

    def get(self) -> dict[str, Any]:
        """The object."""
        return self._json("llmd", self.name)

    def condition(self, kind: str) -> dict[str, Any]:
        """One condition; raises AssertionError while there is none."""
        conditions = self.get().get("status", {}).get("conditions", [])
        for condition in conditions:
            if condition["type"] == kind:
                return dict(condition)
        raise AssertionError(f"{self.model} has no condition {kind}, only {conditions}")

    def wait_condition(self, kind: str, status: str, *, seconds: float) -> None:
        """Wait until a condition has a status."""

        def probe() -> bool:
            seen = self.condition(kind)
            assert seen["status"] == status, seen
            return True

        until(f"{self.model}: {kind}={status}", probe, seconds=seconds)

    def pods(self, *, terminating: bool = False) -> list[dict[str, Any]]:
        """Engine pods; those that are on their way out only when asked for."""
        selector = f"tertium.dev/deployment={self.name},app.kubernetes.io/component=engine"
        items = self._json("pods", "-l", selector)["items"]
        return [pod for pod in items if terminating or "deletionTimestamp" not in pod["metadata"]]

    def demand_seconds(self) -> float | None:
        """How long ago a gateway pod last stated demand; None: it never did."""
        claims = claims_of(self._json("lease", f"{self.name}-demand")).values()
        stated = max((parse_time(claim.partition("/")[0]) for claim in claims), default=None)
        return None if stated is None else (datetime.now(UTC) - stated).total_seconds()

    def children(self) -> list[str]:
        """Everything Tertium made for it, as `Kind/name`."""
        items = self._json(OWNED_KINDS, "-l", f"tertium.dev/deployment={self.name}")["items"]
        return [f"{item['kind']}/{item['metadata']['name']}" for item in items]

    def delete(self) -> None:
        """Delete the deployment; what it owns goes by garbage collection."""
        self.cluster.kubectl("-n", self.namespace, "delete", "llmd", self.name, "--ignore-not-found")

    def _json(self, *what: str) -> dict[str, Any]:
        return dict(json.loads(self.cluster.kubectl("-n", self.namespace, "get", *what, "-o", "json")))


def install(cluster: Cluster, *settings: str, engine_image: str = ENGINE_IMAGE) -> Stack:
    """Install or upgrade the chart with these values, wait until it serves, and return the stack."""
    # The images keep their tag from build to build; the annotation restarts the pods whose image is another.
    keys = [cache_root() / "images" / f"{image}.key" for image in ("operator", "gateway")]
    build = "-".join(key.read_text()[:12] for key in keys)
    cluster.helm(
        *("upgrade", "--install", "tertium", str(ROOT / "charts" / "tertium")),
        *("--namespace", SYSTEM, "--create-namespace", "--wait", "--timeout", "120s"),
        *("--set", "images.operator.repository=localhost/tertium-operator,images.operator.tag=dev"),
        *("--set", "images.gateway.repository=localhost/tertium-gateway,images.gateway.tag=dev"),
        *("--set", f"engine.image={engine_image}", "--set-string", f"podAnnotations.build={build}"),
        *(word for setting in settings for word in ("--set", setting)),
    )
    return Stack(cluster=cluster, caller=Caller(url=cluster.service_url(SYSTEM, "tertium-gateway")))


def make_namespace(environment: Environment, name: str) -> None:
    """Make a namespace whose claim `models` holds the models; an old one of that name goes first."""
    delete_namespace(environment.cluster, name, wait=True)
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"models-{name}"},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadOnlyMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "",
            "hostPath": {"path": str(environment.models), "type": "Directory"},
            "claimRef": {"namespace": name, "name": "models"},
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "models", "namespace": name},
        "spec": {
            "accessModes": ["ReadOnlyMany"],
            "storageClassName": "",
            "volumeName": f"models-{name}",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    documents = yaml.safe_dump_all([space, volume, claim])
    environment.cluster.kubectl("apply", "--server-side", "-f", "-", input=documents)


def delete_namespace(cluster: Cluster, name: str, *, wait: bool = False) -> None:
    """Delete a namespace and its volume, and wait until both are gone where asked."""
    how = ("--ignore-not-found", f"--wait={str(wait).lower()}")
    cluster.kubectl("delete", "namespace", name, *how)
    cluster.kubectl("delete", "persistentvolume", f"models-{name}", *how)

"""A gateway pod as processes of this machine: what the chart starts, beside a control plane without nodes.

The API server is real, and so are Envoy's files, which the activator writes; the engine's pod is an object
whose address is the engine double's.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import yaml

from e2e.bench.subjects import ENGINE_HOST, MODEL, WORKERS, Subject, Workshop
from e2e.cluster import envoy_filter
from e2e.fleet.api import CORE, LLMDS, path_of
from e2e.fleet.operator import free_port
from e2e.fleet.plane import ROOT, SYSTEM, Plane, deployment
from tertium.api.meta import ObjectKey, format_time
from tertium.core import names
from tertium.gateway.settings import GatewaySettings
from tertium.render.envoy.layout import BOOTSTRAP_FILE

NAME: Final = "tertium-gateway"
_DIRECTORY: Final = "/etc/tertium/envoy"


def our_gateway(shop: Workshop, plane: Plane, more: Mapping[str, str] | None = None) -> Subject:
    """Start Envoy and the activator as the chart does, the activator with `more` of an environment.

    Raises AssertionError when the chart's number of Envoy's threads is not that of the other subjects.
    """
    folder = shop.folder / "gateway"
    containers = _containers(plane)
    envoy = [word.replace(_DIRECTORY, str(folder)) for word in containers["envoy"]["command"]]
    assert envoy[envoy.index("--concurrency") + 1] == str(WORKERS), envoy
    ports = {name: free_port() for name in GatewaySettings.model_fields if name.endswith("_port")}
    environment = {item["name"]: item.get("value", "gateway") for item in containers["activator"]["env"]}
    environment |= {f"TERTIUM_{name.upper()}": str(port) for name, port in ports.items()}
    environment |= {"TERTIUM_ENVOY_DIR": str(folder), "KUBECONFIG": str(_kubeconfig(shop, plane))}
    environment |= {"TERTIUM_FILTER_FILE": str(envoy_filter.build())}
    tertium = [sys.executable, "-m", "tertium", "gateway"]
    subprocess.run(["env", *_words(environment), *tertium, "prepare"], check=True)
    envoy[0] = str(Path(sys.executable).with_name("envoy"))
    roots = {
        "envoy": shop.start("gateway-envoy", envoy, environment),
        "activator": shop.start("gateway-activator", [*tertium, "run"], environment | dict(more or {})),
    }
    url = f"http://127.0.0.1:{ports['listen_port']}"
    return Subject(name="Tertium's gateway", url=url, roots=roots)


def access_log_of(shop: Workshop) -> list[Any]:
    """Return the lines that the gateway which was started logs, for an Envoy that shall log the same."""
    bootstrap = json.loads((shop.folder / "gateway" / BOOTSTRAP_FILE).read_text())
    listener = bootstrap["static_resources"]["listeners"][0]
    http = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return [log for log in http["access_log"] if log["name"] == "stdout"]


def _words(environment: dict[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in environment.items()]


def show_model(plane: Plane, **spec: Any) -> None:
    """Make the deployment of the model that the engine serves."""
    namespace, name = MODEL.split("/")
    plane.add_namespace(namespace)
    plane.api.create(path_of(LLMDS, namespace, "llmdeployments"), deployment(name, namespace, **spec))


def show_replica(plane: Plane) -> None:
    """Make a pod of the deployment that is Ready at the engine's address; nobody schedules it."""
    namespace, name = MODEL.split("/")
    pod: dict[str, Any] = {
        "metadata": {"name": name, "labels": names.labels(ObjectKey(namespace, name), "engine")},
        "spec": {"schedulerName": "none", "containers": [{"name": "engine", "image": "fake/engine"}]},
    }
    plane.api.create(path_of(CORE, namespace, "pods"), pod)
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": format_time(datetime.now(UTC))}
    status = {
        "phase": "Running",
        "podIP": ENGINE_HOST,
        "podIPs": [{"ip": ENGINE_HOST}],
        "conditions": [ready],
    }
    plane.api.merge(path_of(CORE, namespace, "pods", name) + "/status", {"status": status})


def _containers(plane: Plane) -> dict[str, dict[str, Any]]:
    """Return the containers of a gateway pod as the chart has them by default."""
    text = plane.cluster.helm("template", "tertium", str(ROOT / "charts" / "tertium"), "--namespace", SYSTEM)
    (pod,) = (
        manifest["spec"]["template"]["spec"]
        for manifest in yaml.safe_load_all(text)
        if manifest and manifest["kind"] == "Deployment" and manifest["metadata"]["name"] == NAME
    )
    return {container["name"]: container for container in pod["containers"]}


def _kubeconfig(shop: Workshop, plane: Plane) -> Path:
    """Write a kubeconfig with the rights of the gateway's account."""
    token = plane.cluster.kubectl("-n", SYSTEM, "create", "token", NAME, "--duration=1h").strip()
    config = json.loads(plane.cluster.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    return shop.write("gateway.kubeconfig", config)

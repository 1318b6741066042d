"""What the real Helm makes of the chart: it renders, names what is wrong, and asks for no privilege."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from e2e.cluster.binaries import HELM, build
from e2e.cluster.progress import Steps

pytestmark = pytest.mark.e2e

ROOT: Final = Path(__file__).resolve().parents[1]
CHART: Final = ROOT / "charts" / "tertium"
CRDS: Final = ("llmdeployments", "apikeys")


@pytest.fixture(scope="module")
def helm() -> Path:
    """The cluster tool's own Helm."""
    return build((HELM,), Steps())["helm"]


def run(helm: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([helm, *words], capture_output=True, text=True, check=False)


def render(helm: Path, *settings: str, release: str = "tertium") -> dict[tuple[str, str], Any]:
    """Return the rendered objects by kind and name."""
    flags = [word for setting in settings for word in ("--set", setting)]
    done = run(helm, "template", release, str(CHART), "--namespace", "tertium-system", *flags)
    assert done.returncode == 0, done.stderr
    documents = [document for document in yaml.safe_load_all(done.stdout) if document]
    return {(document["kind"], document["metadata"]["name"]): document for document in documents}


def pod_of(objects: dict[tuple[str, str], Any], part: str) -> Any:
    return objects["Deployment", f"tertium-{part}"]["spec"]["template"]["spec"]


def test_lint_has_nothing_to_say(helm: Path) -> None:
    done = run(helm, "lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("plural", CRDS)
def test_a_definition_is_the_generated_one_and_outlives_the_release(helm: Path, plural: str) -> None:
    rendered = render(helm)["CustomResourceDefinition", f"{plural}.tertium.dev"]
    generated = (ROOT / "crds" / f"tertium.dev_{plural}.yaml").read_text()
    assert rendered["spec"] == yaml.safe_load(generated)["spec"]
    assert rendered["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_without_the_definitions_nothing_else_changes(helm: Path) -> None:
    everything, rest = render(helm), render(helm, "crds.install=false")
    definitions = {("CustomResourceDefinition", f"{plural}.tertium.dev") for plural in CRDS}
    assert everything.keys() - rest.keys() == definitions


def test_the_gateway_finds_its_own_pods_by_their_labels(helm: Path) -> None:
    objects = render(helm, release="llm")
    pod = objects["Deployment", "llm-tertium-gateway"]["spec"]
    (activator,) = (item for item in pod["template"]["spec"]["containers"] if item["name"] == "activator")
    given = {item["name"]: item.get("value") for item in activator["env"]}
    selector = dict(pair.split("=") for pair in given["TERTIUM_GATEWAY_LABELS"].split(","))
    assert selector == pod["selector"]["matchLabels"]
    assert given["TERTIUM_AUTH_MODE"] == "None"


@pytest.mark.parametrize("part", ["operator", "gateway"])
def test_pods_meet_the_restricted_standard(helm: Path, part: str) -> None:
    pod = pod_of(render(helm), part)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in [*pod["containers"], *pod.get("initContainers", ())]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_a_second_operator_is_ready_before_the_first_goes(helm: Path) -> None:
    spec = render(helm)["Deployment", "tertium-operator"]["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_a_service_monitor_is_there_when_asked_for(helm: Path) -> None:
    kinds = {kind for kind, _ in render(helm)}
    settings = ("metrics.serviceMonitor.enabled=true", "metrics.serviceMonitor.labels.release=prometheus")
    objects = render(helm, *settings)
    assert "ServiceMonitor" not in kinds
    for part, service, port in (
        ("operator", "operator", "health"),
        ("gateway", "gateway-reports", "reports"),
    ):
        monitor = objects["ServiceMonitor", f"tertium-{part}"]
        assert monitor["metadata"]["labels"]["release"] == "prometheus"
        assert monitor["spec"]["endpoints"] == [{"port": port, "path": "/metrics", "interval": "30s"}]
        chosen = monitor["spec"]["selector"]["matchLabels"].items()
        found = objects["Service", f"tertium-{service}"]
        assert chosen <= found["metadata"]["labels"].items()
        assert found["spec"]["ports"][0]["name"] == port


def test_a_gateway_pod_lives_longer_than_its_drain(helm: Path) -> None:
    pod = pod_of(render(helm, "gateway.drainSeconds=100"), "gateway")
    assert pod["terminationGracePeriodSeconds"] == 130
    for container in [*pod["containers"], *pod["initContainers"]]:
        assert {"name": "TERTIUM_DRAIN_SECONDS", "value": "100"} in container["env"]


@pytest.mark.parametrize("part", ["gateway", "operator"])
def test_a_single_pod_has_no_disruption_budget_that_would_block_a_drain(helm: Path, part: str) -> None:
    budget = ("PodDisruptionBudget", f"tertium-{part}")
    assert budget in render(helm)
    assert budget not in render(helm, f"{part}.replicas=1")


def test_images_and_engine_are_the_ones_set(helm: Path) -> None:
    objects = render(helm, "images.operator.repository=r/o,images.operator.tag=v1", "engine.image=e:2")
    (operator,) = pod_of(objects, "operator")["containers"]
    assert operator["image"] == "r/o:v1"
    assert {"name": "TERTIUM_OPERATOR_IMAGE", "value": "r/o:v1"} in operator["env"]
    assert {"name": "TERTIUM_ENGINE_IMAGE", "value": "e:2"} in operator["env"]


@pytest.mark.parametrize(
    ("release", "port", "url"),
    [
        pytest.param("tertium", 80, "http://tertium-gateway.tertium-system/v1", id="the default"),
        pytest.param(
            "llm", 8000, "http://llm-tertium-gateway.tertium-system:8000/v1", id="another name and port"
        ),
    ],
)
def test_the_url_in_status_is_the_service_s(helm: Path, release: str, port: int, url: str) -> None:
    objects = render(helm, f"gateway.service.port={port}", release=release)
    service = next(document for (kind, _), document in objects.items() if kind == "Service")
    assert url.startswith(f"http://{service['metadata']['name']}.")
    operator = next(
        document
        for (kind, name), document in objects.items()
        if kind == "Deployment" and name.endswith("-operator")
    )
    (container,) = operator["spec"]["template"]["spec"]["containers"]
    assert {"name": "TERTIUM_GATEWAY_URL", "value": url} in container["env"]


def test_with_a_certificate_callers_speak_tls_and_the_kubelet_need_not(helm: Path) -> None:
    objects = render(helm, "gateway.tls.secretName=cert")
    (port,) = objects["Service", "tertium-gateway"]["spec"]["ports"]
    assert port == {"name": "https", "port": 443, "targetPort": "http", "appProtocol": "https"}
    (operator,) = pod_of(objects, "operator")["containers"]
    url = "https://tertium-gateway.tertium-system/v1"
    assert {"name": "TERTIUM_GATEWAY_URL", "value": url} in operator["env"]
    pod = pod_of(objects, "gateway")
    assert {"name": "tls", "secret": {"secretName": "cert"}} in pod["volumes"]
    (envoy,) = [container for container in pod["containers"] if container["name"] == "envoy"]
    assert envoy["readinessProbe"]["httpGet"] == {"path": "/healthz", "port": "health"}
    (mount,) = [mount for mount in envoy["volumeMounts"] if mount["name"] == "tls"]
    for container in [*pod["containers"], *pod["initContainers"]]:
        assert {"name": "TERTIUM_TLS_DIR", "value": mount["mountPath"]} in container["env"]


def test_only_the_operator_and_scrapers_read_what_a_gateway_reports(helm: Path) -> None:
    policy = ("NetworkPolicy", "tertium-gateway")
    peer = "gateway.networkPolicy.scrapers[0].podSelector.matchLabels.app=prometheus"
    callers, reports = render(helm, peer)[policy]["spec"]["ingress"]
    assert callers == {"ports": [{"port": "http"}]}
    operator, prometheus = reports["from"]
    assert operator["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "operator"
    assert prometheus == {"podSelector": {"matchLabels": {"app": "prometheus"}}}
    assert policy not in render(helm, "gateway.networkPolicy.enabled=false")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        pytest.param(
            "gatway.replicas=3", "additional properties 'gatway' not allowed", id="a misspelt value"
        ),
        pytest.param(
            "operator.replicas=0", "at '/operator/replicas': minimum: got 0, want 1", id="no operator"
        ),
        pytest.param("gateway.replicas=0", "at '/gateway/replicas': minimum: got 0, want 1", id="no gateway"),
        pytest.param(
            "gateway.auth.mode=Password",
            "at '/gateway/auth/mode': value must be one of",
            id="an unknown mode",
        ),
        pytest.param("logLevel=TRACE", "at '/logLevel': value must be one of", id="an unknown log level"),
        pytest.param(
            "hub.endpoint=huggingface.co", "at '/hub/endpoint': 'huggingface.co' does not match", id="no URL"
        ),
    ],
)
def test_a_wrong_value_is_refused_by_name(helm: Path, setting: str, words: str) -> None:
    done = run(helm, "template", "tertium", str(CHART), "--set", setting)
    assert done.returncode != 0
    assert words in done.stderr

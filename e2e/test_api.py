"""`LLMDeployment` as people meet it with kubectl, and as old API servers judge its definition."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

import pytest
import yaml

from e2e.cluster import binaries
from e2e.cluster.progress import Steps
from e2e.stack import ROOT, Sample, Stack
from e2e.waiting import until
from tertium.api.crd import custom_resource_definition, place
from tertium.api.definitions import DEFINITIONS, Definition
from tertium.api.reference import EXAMPLE

pytestmark = pytest.mark.e2e

CRDCHECK: Final = binaries.GoProgram(name="crdcheck", module=ROOT / "e2e" / "crdcheck")


@pytest.fixture(scope="module")
def deployment(stack: Stack, namespace: str) -> Iterator[Sample]:
    """The example of the reference page, suspended, so that nothing has to run."""
    manifest = yaml.safe_load(EXAMPLE)
    manifest["metadata"]["namespace"] = namespace
    manifest["spec"]["suspend"] = True
    sample = stack.apply(yaml.safe_dump(manifest))
    yield sample
    sample.delete()


@pytest.mark.parametrize(
    ("path", "words"),
    [
        pytest.param("llmd", ["An on-demand LLM deployment."], id="the kind"),
        pytest.param("llmd.spec", ["model <Object> -required-", "accelerators <[]Object>"], id="the spec"),
        pytest.param(
            "llmd.spec.model.source", ["`hf://ORG/NAME`", "Examples: `hf://Qwen/Qwen3-8B`"], id="an example"
        ),
        pytest.param("llmd.spec.scaling.maxReplicas", ["<integer>", "Default: `1`."], id="a default"),
        pytest.param(
            "llmd.spec.coldStart.mode",
            ["Hold Reject", "answers 503 with `Retry-After`", "Default: `Hold`."],
            id="a choice",
        ),
        pytest.param("llmd.spec.template.tolerations", ["Taints the pods tolerate"], id="a part of the pod"),
        pytest.param("llmd.spec.template.resources.limits", ["map[string]"], id="quantities"),
        pytest.param(
            "llmd.spec.accelerators.spot", ["nodes the cloud may take back"], id="an item of a list"
        ),
        pytest.param("llmd.status.plan.memoryPerGpu", ["Where the memory of each GPU goes."], id="the plan"),
        pytest.param("llmd.status.conditions", ["lastTransitionTime <string> -required-"], id="conditions"),
    ],
)
def test_kubectl_explains_a_field(stack: Stack, path: str, words: list[str]) -> None:
    def explained() -> bool:
        try:
            text = " ".join(stack.cluster.kubectl("explain", path).split())
        except subprocess.CalledProcessError as error:
            raise AssertionError(error.stderr) from error
        assert not [word for word in words if word not in text]
        return True

    # The API server publishes the description of a definition some seconds after it serves it.
    until(f"an explanation of {path}", explained, seconds=30)


@pytest.mark.parametrize(
    ("what", "columns"),
    [
        pytest.param(["llmd"], "NAME READY ACTIVE REPLICAS DESIRED MODEL AGE", id="the short name"),
        pytest.param(["llmdeployment"], "NAME READY ACTIVE REPLICAS DESIRED MODEL AGE", id="the singular"),
        pytest.param(["tertium"], "NAME READY ACTIVE REPLICAS DESIRED MODEL AGE", id="the category"),
        pytest.param(
            ["llmd", "-o", "wide"],
            "NAME READY ACTIVE REPLICAS DESIRED MODEL ACCELERATOR GPUS REVISION MESSAGE AGE",
            id="all columns",
        ),
    ],
)
def test_kubectl_lists_what_one_wants_to_know(deployment: Sample, what: list[str], columns: str) -> None:
    header, row = deployment.cluster.kubectl("-n", deployment.namespace, "get", *what).splitlines()
    assert " ".join(header.split()) == columns
    assert row.split()[0].removeprefix("llmdeployment.tertium.dev/") == deployment.name
    assert "hf://meta-llama/Llama-3.3-70B-Instruct" in row


def scale_of(deployment: Sample) -> dict[str, Any]:
    path = (
        f"/apis/tertium.dev/v1alpha1/namespaces/{deployment.namespace}/llmdeployments/{deployment.name}/scale"
    )
    return dict(json.loads(deployment.cluster.kubectl("get", "--raw", path)))


def test_kubectl_scale_pins_the_replicas(deployment: Sample) -> None:
    assert "replicas" not in deployment.get()["spec"]
    deployment.cluster.kubectl("-n", deployment.namespace, "scale", "llmd", deployment.name, "--replicas=2")
    assert deployment.get()["spec"]["replicas"] == 2
    assert scale_of(deployment)["spec"]["replicas"] == 2


def test_an_autoscaler_finds_the_pods_and_pins_the_replicas(deployment: Sample) -> None:
    kubectl, where = deployment.cluster.kubectl, ("-n", deployment.namespace)
    until("a selector", lambda: "selector" in scale_of(deployment)["status"], seconds=10)
    assert f"tertium.dev/deployment={deployment.name}" in scale_of(deployment)["status"]["selector"]
    kubectl(*where, "scale", "llmd", deployment.name, "--replicas=1")
    kubectl(*where, "autoscale", f"llmd/{deployment.name}", "--min=3", "--max=4")
    until("3 replicas", lambda: deployment.get()["spec"]["replicas"] == 3, seconds=40)


def test_no_replica_can_be_asked_for_beyond_the_bound(deployment: Sample) -> None:
    scale = ("scale", "llmd", deployment.name, "--replicas=1001")
    with pytest.raises(subprocess.CalledProcessError) as refused:
        deployment.cluster.kubectl("-n", deployment.namespace, *scale)
    assert "spec.replicas in body should be less than or equal to 1000" in str(refused.value.stderr)


Judge: TypeAlias = Callable[[dict[str, Any]], str]


@pytest.fixture(scope="module")
def oldest_server() -> Judge:
    """What the code of the oldest supported API server says against a definition; nothing: it takes it."""
    program = binaries.build([CRDCHECK], Steps())["crdcheck"]

    def judge(definition: dict[str, Any]) -> str:
        text = json.dumps(definition)
        done = subprocess.run([program], input=text, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    return judge


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.kind)
def test_the_oldest_supported_api_server_takes_the_definition(
    oldest_server: Judge, definition: Definition
) -> None:
    assert oldest_server(custom_resource_definition(definition)) == ""


def test_it_would_not_take_a_rule_that_only_newer_ones_know(oldest_server: Judge) -> None:
    definition = custom_resource_definition()
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    rule = {"rule": "!format.dns1123Label().validate(self).hasValue()", "message": "a name"}
    place(schema, "spec.template.serviceAccountName")["x-kubernetes-validations"] = [rule]
    assert "undeclared reference to 'format'" in oldest_server(definition)

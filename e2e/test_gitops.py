"""GitOps: Flux and Argo CD, by their own code, keep what a repository says and find no cause to act.

Each engine has one deployment, which the tests take in order from asleep to deleted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from e2e.doubles import double
from e2e.gitops import ENGINES, Engine, Health, engine_named, health, program, release
from e2e.stack import IDLE, SYSTEM, Sample, Stack
from e2e.waiting import until

pytestmark = pytest.mark.e2e

ARGOCD_CM: Final = Path(__file__).resolve().parents[1] / "charts" / "tertium" / "argocd" / "argocd-cm.yaml"


def document(namespace: str, name: str, *, boot_seconds: int = 0, **spec: object) -> str:
    """One file of a repository: an LLMDeployment whose engine is the double."""
    engine = double(DOUBLE_BOOT_SECONDS=boot_seconds)
    return yaml.safe_dump(
        {
            "apiVersion": "tertium.dev/v1alpha1",
            "kind": "LLMDeployment",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"model": {"source": "pvc://models/smollm2-135m-instruct"}, "engine": engine, **spec},
        }
    )


def judged(*objects: dict[str, Any]) -> list[Health]:
    """What Argo CD, taught by the chart's ConfigMap, and kstatus make of objects."""
    return health(ARGOCD_CM, objects)


@pytest.fixture(scope="module")
def deployments(stack: Stack, namespace: str) -> Iterator[dict[str, Sample]]:
    """A deployment for each engine, applied by it, asleep."""
    program()  # building takes longer than a test may
    samples = {name: Sample(cluster=stack.cluster, namespace=namespace, name=name) for name in ENGINES}
    for name in ENGINES:
        engine_named(stack.cluster, name).apply(document(namespace, name))
    for sample in samples.values():
        sample.wait_condition("Ready", "True", seconds=60)
    yield samples
    for sample in samples.values():
        sample.delete()


@pytest.fixture(scope="module", params=ENGINES)
def engine(stack: Stack, request: pytest.FixtureRequest) -> Engine:
    """Each way to apply in turn."""
    return engine_named(stack.cluster, request.param)


@pytest.fixture
def repository(engine: Engine, namespace: str) -> str:
    """What the repository of the engine holds."""
    return document(namespace, engine.name)


@pytest.fixture
def applied(engine: Engine, deployments: dict[str, Sample]) -> Sample:
    """The deployment of the engine's repository."""
    return deployments[engine.name]


def test_asleep_it_is_as_the_repository_says_and_healthy(
    engine: Engine, repository: str, applied: Sample
) -> None:
    assert applied.condition("Active")["reason"] == IDLE
    assert engine.drift(repository) == []
    (seen,) = judged(applied.get())
    assert (seen.argocd, seen.argocd_message) == ("Healthy", applied.condition("Active")["message"])
    assert seen.kstatus == "Current"


def test_applied_again_it_is_not_written(engine: Engine, repository: str, applied: Sample) -> None:
    before = applied.get()["metadata"]["resourceVersion"]
    engine.apply(repository)
    assert applied.get()["metadata"]["resourceVersion"] == before


def test_at_work_it_is_as_the_repository_says_and_healthy(
    stack: Stack, engine: Engine, repository: str, applied: Sample
) -> None:
    assert stack.caller_until_routed(applied.model).status == 200
    applied.wait_condition("Active", "True", seconds=20)
    applied.wait_condition("Progressing", "False", seconds=20)
    assert engine.drift(repository) == []
    engine.apply(repository)
    assert applied.get()["metadata"]["generation"] == 1
    (seen,) = judged(applied.get())
    assert (seen.argocd, seen.kstatus) == ("Healthy", "Current")


def test_a_count_that_somebody_else_set_is_left_alone(
    stack: Stack, engine: Engine, repository: str, applied: Sample
) -> None:
    stack.cluster.kubectl("-n", applied.namespace, "scale", "llmd", applied.name, "--replicas=1")
    assert engine.drift(repository) == []
    engine.apply(repository)
    assert applied.get()["spec"]["replicas"] == 1


def test_an_edit_by_hand_is_drift_and_the_next_application_undoes_it(
    stack: Stack, engine: Engine, repository: str, applied: Sample
) -> None:
    edit = {"spec": {"model": {"source": "pvc://models/no-such-model"}}}
    by_hand = ("patch", "llmd", applied.name, "--type=merge", "--field-manager=hand", "-p", json.dumps(edit))
    stack.cluster.kubectl("-n", applied.namespace, *by_hand)
    (drift,) = engine.drift(repository)
    assert "pvc://models/smollm2-135m-instruct" in drift
    engine.apply(repository)
    assert engine.drift(repository) == []
    assert applied.get()["spec"]["model"] == {"source": "pvc://models/smollm2-135m-instruct"}


@pytest.fixture(scope="module")
def chart(stack: Stack) -> Iterator[str]:
    """Everything that Helm made of the chart for this cluster, as a repository of manifests holds it."""
    rendered = stack.cluster.helm("get", "manifest", "tertium", "--namespace", SYSTEM)
    documents = [document for document in yaml.safe_load_all(rendered) if document]
    for each in documents:
        if not each["kind"].startswith("Cluster") and each["kind"] != "CustomResourceDefinition":
            each["metadata"]["namespace"] = SYSTEM
    text = yaml.safe_dump_all(documents)
    yield text
    release(stack.cluster, text)


def test_the_chart_is_as_the_repository_says_while_tertium_runs(
    stack: Stack, engine: Engine, chart: str
) -> None:
    pods = stack.cluster.kubectl("-n", SYSTEM, "get", "pods", "-o", "name")
    engine.apply(chart)
    engine.apply(chart)
    assert engine.drift(chart) == []
    assert stack.cluster.kubectl("-n", SYSTEM, "get", "pods", "-o", "name") == pods


def test_deleted_they_take_everything_along_and_applied_again_they_are_back(
    stack: Stack, namespace: str, deployments: dict[str, Sample]
) -> None:
    def delete_and_apply(sample: Sample) -> None:
        engine, repository = engine_named(stack.cluster, sample.name), document(namespace, sample.name)
        assert sample.pods() != []
        engine.delete(repository)
        until("no child left", lambda: sample.children() == [], seconds=60)
        engine.apply(repository)
        sample.wait_condition("Ready", "True", seconds=60)
        assert engine.drift(repository) == []

    with ThreadPoolExecutor(len(deployments)) as pool:
        list(pool.map(delete_and_apply, deployments.values()))


def test_a_deployment_that_tertium_has_not_seen_is_in_progress(stack: Stack, namespace: str) -> None:
    manifest = document(namespace, "unseen")
    created = stack.cluster.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", input=manifest)
    (seen,) = judged(json.loads(created))
    assert (seen.argocd, seen.kstatus) == ("Progressing", "InProgress")


def test_a_refused_deployment_is_degraded_for_the_reason_it_gives(stack: Stack, namespace: str) -> None:
    refused = stack.apply(document(namespace, "refused", parallelism={"tensor": 2}))
    refused.wait_condition("Ready", "False", seconds=60)
    (seen,) = judged(refused.get())
    assert seen.argocd == "Degraded"
    assert "9 attention heads do not divide by 2" in seen.argocd_message
    assert seen.kstatus == "Failed"
    refused.delete()


def test_a_waking_deployment_is_progressing_and_a_suspended_one_says_so(stack: Stack, namespace: str) -> None:
    awake = {"minReplicas": 1}
    waking = stack.apply(document(namespace, "waking", boot_seconds=60, scaling=awake))
    waking.wait_condition("Progressing", "True", seconds=60)
    (seen,) = judged(waking.get())
    assert (seen.argocd, seen.kstatus) == ("Progressing", "Current")
    stack.apply(document(namespace, "waking", boot_seconds=60, scaling=awake, suspend=True))
    until("zero replicas", lambda: waking.pods() == [], seconds=60)
    waking.wait_condition("Ready", "True", seconds=20)
    (seen,) = judged(waking.get())
    assert (seen.argocd, seen.kstatus) == ("Suspended", "Current")
    waking.delete()

"""Every child, whole: a changed line here is a changed object in every cluster."""

from __future__ import annotations

from typing import Any

from tertium.core.decide import decide
from tertium.core.inspection import Inspection, Step
from tertium.core.observed import Owner
from tertium.core.planner import Sizing
from tertium.core.revision import source_digest
from tertium.render import Desired, build_all
from tertium.render.deployment import build_deployment
from tertium.render.inspection import build_facts, build_inspection
from tertium.render.lease import build_lease
from tertium.render.service import build_service
from tests.factories import FACTS_TEXT, NOW, POLICY, an_owner, observed

LABELS = {
    "app.kubernetes.io/name": "tertium",
    "app.kubernetes.io/instance": "qwen",
    "app.kubernetes.io/managed-by": "tertium",
    "tertium.dev/deployment": "qwen",
}
OWNER_REFERENCE = {
    "apiVersion": "tertium.dev/v1alpha1",
    "kind": "LLMDeployment",
    "name": "qwen",
    "uid": "uid-1",
    "controller": True,
    "blockOwnerDeletion": False,
}
HUB = {
    "model": {
        "source": "hf://Qwen/Qwen3-8B",
        "revision": "main",
        "credentialsSecretRef": {"name": "hub"},
        "servedName": "q",
    }
}


def sizing_of(owner: Owner) -> Sizing:
    sizing = decide(owner, observed(), POLICY, NOW).sizing
    assert isinstance(sizing, Sizing)
    return sizing


def bare(manifest: Any) -> dict[str, Any]:
    """The manifest without its head, which one test looks at."""
    return {name: value for name, value in manifest.items() if name not in ("apiVersion", "kind", "metadata")}


def deployment(owner: Owner, revision: str = "", replicas: int = 1) -> dict[str, Any]:
    return dict(
        build_deployment(owner, sizing_of(owner), replicas=replicas, revision=revision, policy=POLICY)
    )


def container(owner: Owner, revision: str = "") -> dict[str, Any]:
    (only,) = deployment(owner, revision)["spec"]["template"]["spec"]["containers"]
    return dict(only)


def test_the_head_of_a_child() -> None:
    lease = build_lease(an_owner(), POLICY)
    metadata = dict(lease["metadata"])
    digest = metadata.pop("annotations")["tertium.dev/revision"]
    assert (lease["apiVersion"], lease["kind"], len(digest)) == ("coordination.k8s.io/v1", "Lease", 32)
    assert metadata == {
        "name": "qwen-demand",
        "namespace": "team-a",
        "labels": {**LABELS, "app.kubernetes.io/component": "demand"},
        "ownerReferences": [OWNER_REFERENCE],
    }


def test_the_lease_leaves_holder_and_renew_time_to_the_gateway() -> None:
    assert bare(build_lease(an_owner(), POLICY)) == {"spec": {"leaseDurationSeconds": 15}}


def test_the_service() -> None:
    assert bare(build_service(an_owner())) == {
        "spec": {
            "type": "ClusterIP",
            "selector": {"tertium.dev/deployment": "qwen", "app.kubernetes.io/component": "engine"},
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8000}],
        }
    }


def test_the_deployment_of_a_model_in_a_claim() -> None:
    owner = an_owner({"engine": {"args": ["--enforce-eager"], "env": [{"name": "B", "value": "2"}]}})
    manifest = deployment(owner, replicas=2)
    template = manifest["spec"].pop("template")
    assert manifest["spec"] == {
        "replicas": 2,
        "revisionHistoryLimit": 2,
        "selector": {
            "matchLabels": {"tertium.dev/deployment": "qwen", "app.kubernetes.io/component": "engine"}
        },
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
    }
    assert template == {
        "metadata": {"labels": {**LABELS, "app.kubernetes.io/component": "engine"}},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "nodeSelector": {"nvidia.com/gpu.product": "GPU-24GB"},
            "terminationGracePeriodSeconds": 150,
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
            "volumes": [
                {"name": "model", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}},
                {"name": "shm", "emptyDir": {"medium": "Memory"}},
            ],
            "containers": [
                {
                    "name": "engine",
                    "image": "engine:1",
                    "imagePullPolicy": "IfNotPresent",
                    "args": [
                        "/models/qwen",
                        "--served-model-name",
                        "qwen",
                        "team-a/qwen",
                        "--port",
                        "8000",
                        "--shutdown-timeout=120",
                        "--tensor-parallel-size=1",
                        "--max-model-len=2048",
                        "--max-num-seqs=4",
                        "--max-num-batched-tokens=2048",
                        "--gpu-memory-utilization=0.92",
                        "--enforce-eager",
                    ],
                    "env": [{"name": "B", "value": "2"}],
                    "ports": [{"name": "http", "containerPort": 8000, "protocol": "TCP"}],
                    "lifecycle": {"preStop": {"sleep": {"seconds": 2}}},
                    "readinessProbe": {
                        "httpGet": {"path": "/health", "port": 8000},
                        "periodSeconds": 1,
                        "timeoutSeconds": 2,
                        "failureThreshold": 3,
                    },
                    "resources": {"limits": {"nvidia.com/gpu": "1"}},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                    "volumeMounts": [
                        {"name": "model", "mountPath": "/models", "readOnly": True},
                        {"name": "shm", "mountPath": "/dev/shm"},
                    ],
                }
            ],
        },
    }


def test_a_model_of_a_hub_is_pinned_to_the_commit_that_was_inspected() -> None:
    engine = container(an_owner(HUB), revision="6f6073b")
    assert engine["args"][:7] == [
        "Qwen/Qwen3-8B",
        "--served-model-name",
        "q",
        "team-a/qwen",
        "--port",
        "8000",
        "--shutdown-timeout=120",
    ]
    assert engine["args"][7] == "--revision=6f6073b"
    assert engine["env"] == [
        {"name": "HF_ENDPOINT", "value": "https://huggingface.co"},
        {"name": "HF_HOME", "value": "/cache"},
        {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}},
    ]
    assert engine["volumeMounts"][0] == {"name": "model", "mountPath": "/cache"}
    volumes = deployment(an_owner(HUB))["spec"]["template"]["spec"]["volumes"]
    assert volumes[0] == {"name": "model", "emptyDir": {}}


def test_an_empty_variable_is_spelled_as_the_api_server_keeps_it() -> None:
    owner = an_owner({"engine": {"env": [{"name": "A", "value": ""}]}})
    assert container(owner)["env"] == [{"name": "A"}]


def test_a_named_image_wins_over_the_operators() -> None:
    assert container(an_owner({"engine": {"image": "mine:2"}}))["image"] == "mine:2"


def test_the_inspection_of_a_claim() -> None:
    job = build_inspection(an_owner({"model": {"source": "pvc://models/deep/qwen"}}), POLICY)
    assert bare(job) == {
        "spec": {
            "backoffLimit": 0,
            "template": {
                "metadata": {"labels": {**LABELS, "app.kubernetes.io/component": "inspection"}},
                "spec": {
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "restartPolicy": "Never",
                    "securityContext": {
                        "runAsNonRoot": True,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "volumes": [
                        {"name": "tmp", "emptyDir": {}},
                        {"name": "model", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}},
                    ],
                    "containers": [
                        {
                            "name": "inspect",
                            "image": "tertium:1",
                            "imagePullPolicy": "IfNotPresent",
                            "args": ["inspect", "pvc://models/deep/qwen", "--mount", "/model"],
                            "resources": {
                                "requests": {"cpu": "10m", "memory": "64Mi"},
                                "limits": {"memory": "512Mi"},
                            },
                            "securityContext": {
                                "allowPrivilegeEscalation": False,
                                "capabilities": {"drop": ["ALL"]},
                                "readOnlyRootFilesystem": True,
                            },
                            "terminationMessagePolicy": "FallbackToLogsOnError",
                            "volumeMounts": [
                                {"name": "tmp", "mountPath": "/tmp"},
                                {"name": "model", "mountPath": "/model", "readOnly": True},
                            ],
                        }
                    ],
                },
            },
        }
    }


def test_the_inspection_of_a_hub_gets_the_token_and_the_revision() -> None:
    job = build_inspection(an_owner(HUB), POLICY)
    (inspect,) = job["spec"]["template"]["spec"]["containers"]
    assert inspect["args"] == ["inspect", "hf://Qwen/Qwen3-8B", "--revision", "main"]
    assert inspect["env"] == [
        {"name": "HF_ENDPOINT", "value": "https://huggingface.co"},
        {"name": "HF_HOME", "value": "/tmp/hf"},
        {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}},
    ]


def test_the_facts_say_which_source_they_are_about() -> None:
    owner = an_owner()
    facts = build_facts(owner, FACTS_TEXT)
    assert bare(facts) == {"data": {"facts.json": FACTS_TEXT}}
    assert facts["metadata"]["annotations"]["tertium.dev/source-digest"] == source_digest(owner.spec.model)


def names_of(desired: Desired) -> list[str]:
    return [f"{item['kind']}/{item['metadata']['name']}" for item in desired.apply]


def test_a_model_not_yet_inspected_gets_everything_but_an_engine() -> None:
    owner, seen = an_owner(), observed(facts=None, facts_stored=False)
    desired = build_all(owner, decide(owner, seen, POLICY, NOW), seen, POLICY)
    job = build_inspection(owner, POLICY)["metadata"]["name"]
    assert names_of(desired) == ["Lease/qwen-demand", "Service/qwen-engine", f"Job/{job}"]
    assert desired.reserved == (("Deployment", "qwen-engine"), ("ConfigMap", "qwen-model"))


def test_found_facts_are_stored_before_their_job_is_dropped_and_an_older_one_goes_too() -> None:
    owner = an_owner()
    job = build_inspection(owner, POLICY)
    old = {**job, "metadata": {**job["metadata"], "name": "qwen-inspect-00000000"}}
    children = {("Job", item["metadata"]["name"]): item for item in (job, old)}
    seen = observed(
        facts_stored=False, inspection=Inspection(state="done", facts=FACTS_TEXT), children=children
    )
    plan = decide(owner, seen, POLICY, NOW)
    desired = build_all(owner, plan, seen, POLICY)
    assert plan.inspect is Step.STORE
    assert names_of(desired)[2:] == ["ConfigMap/qwen-model", "Deployment/qwen-engine"]
    assert desired.drop == (job, old)


def test_a_running_job_is_neither_applied_again_nor_dropped() -> None:
    owner = an_owner()
    job = build_inspection(owner, POLICY)
    seen = observed(
        facts=None,
        facts_stored=False,
        inspection=Inspection(state="running"),
        children={("Job", job["metadata"]["name"]): job},
    )
    desired = build_all(owner, decide(owner, seen, POLICY, NOW), seen, POLICY)
    assert (names_of(desired)[2:], desired.drop) == ([], ())


def test_without_a_plan_a_pin_still_stops_what_runs() -> None:
    owner = an_owner({"replicas": 0})
    live = deployment(an_owner(), replicas=2)
    seen = observed(replicas=2, pools=(), children={("Deployment", "qwen-engine"): live})
    desired = build_all(owner, decide(owner, seen, POLICY, NOW), seen, POLICY)
    assert desired.apply[-1]["spec"] == {**live["spec"], "replicas": 0}

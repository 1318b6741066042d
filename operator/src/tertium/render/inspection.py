"""The Job that reads a model's config and weight sizes, and the ConfigMap that keeps what it found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tertium.api.meta import Manifest
from tertium.core import names
from tertium.core.observed import Owner
from tertium.core.policy import Policy
from tertium.core.revision import source_digest
from tertium.render import vllm
from tertium.render.manifest import child

CONTAINER: Final = "inspect"
MOUNT_PATH: Final = "/model"


def build_inspection(owner: Owner, policy: Policy) -> Manifest:
    """Return the Job. It is never changed: another source is another Job."""
    labels = names.labels(owner.key, names.INSPECTION)
    spec = {
        "backoffLimit": 0,
        "template": {"metadata": {"labels": labels}, "spec": _pod(owner, policy)},
    }
    return child(
        owner.identity,
        api_version="batch/v1",
        kind="Job",
        name=names.inspection(owner.key, source_digest(owner.spec.model)),
        component=names.INSPECTION,
        spec=spec,
    )


def build_facts(owner: Owner, facts: str) -> Manifest:
    """Return the ConfigMap with the facts' JSON text and the digest of the source they are about."""
    return child(
        owner.identity,
        api_version="v1",
        kind="ConfigMap",
        name=names.facts(owner.key),
        component="model",
        annotations={names.SOURCE_DIGEST_ANNOTATION: source_digest(owner.spec.model)},
        data={names.FACTS_KEY: facts},
    )


def _pod(owner: Owner, policy: Policy) -> Mapping[str, Any]:
    claim = vllm.claim_volume(owner.spec.model, "model")
    volumes = [{"name": "tmp", "emptyDir": {}}, *([claim] if claim else [])]
    return {
        "automountServiceAccountToken": False,
        "containers": [_container(owner, policy)],
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "volumes": volumes,
    }


def _container(owner: Owner, policy: Policy) -> Mapping[str, Any]:
    model = owner.spec.model
    mounts: list[Mapping[str, Any]] = [{"name": "tmp", "mountPath": "/tmp"}]
    arguments = ["inspect", model.source]
    environment: list[Mapping[str, Any]] = []
    if vllm.reads_claim(model):
        mounts.append({"name": "model", "mountPath": MOUNT_PATH, "readOnly": True})
        arguments += ["--mount", MOUNT_PATH]
    else:
        environment = [
            vllm.variable("HF_ENDPOINT", policy.hub_endpoint),
            vllm.variable("HF_HOME", "/tmp/hf"),
            *vllm.token(model).values(),
        ]
    if model.revision:
        arguments += ["--revision", model.revision]
    container = {
        "name": CONTAINER,
        "image": policy.operator_image,
        "imagePullPolicy": "IfNotPresent",
        "args": arguments,
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    }
    return {**container, "env": environment} if environment else container

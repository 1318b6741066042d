"""The engine's Deployment, one for each revision.

Everything is spelled as the API server returns it, so that equal compares equal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from tertium.api.meta import Manifest
from tertium.core import names
from tertium.core.blueprint import Blueprint
from tertium.core.observed import Identity
from tertium.render import vllm
from tertium.render.manifest import child
from tertium.render.overlay import lay_over

GPU_TAINT: Final = "nvidia.com/gpu"
SPOT_LABELS: Final = {
    "karpenter.sh/capacity-type": "spot",
    "cloud.google.com/gke-spot": "true",
    "eks.amazonaws.com/capacityType": "SPOT",
    "kubernetes.azure.com/scalesetpriority": "spot",
}
"""How clouds mark nodes that they may take back; where they taint them too, it is by the same key."""

# Endpoints are removed while this runs: no new request meets an engine that is told to stop.
_LEAVE_SECONDS: Final = 2
# What the engine needs after its last answer before the kubelet kills it.
_SLACK_SECONDS: Final = 28
# Kubernetes' own 300 s are five minutes without the model after its node died.
_LOST_NODE_SECONDS: Final = 60


def build_deployment(owner: Identity, blueprint: Blueprint, *, replicas: int) -> Manifest:
    """Return the Deployment of `replicas` engines made from `blueprint`."""
    revision = {names.REVISION_LABEL: blueprint.revision}
    template = {
        "metadata": {"labels": {**names.labels(owner.key, "engine"), **revision}},
        "spec": _pod(blueprint),
    }
    spec = {
        "replicas": replicas,
        # Another template is another Deployment: there is nothing to go back to in this one.
        "revisionHistoryLimit": 0,
        "selector": {"matchLabels": {**names.selector(owner.key, "engine"), **revision}},
        # Only for a template that somebody else changed: it is put right without a GPU more.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
        "template": lay_over(template, blueprint.spec.template),
    }
    annotations = {names.BLUEPRINT_ANNOTATION: json.dumps(blueprint.document, ensure_ascii=False)}
    if blueprint.spot is not None:
        annotations[names.SPOT_ANNOTATION] = str(blueprint.spot).lower()
    return child(
        owner,
        api_version="apps/v1",
        kind="Deployment",
        name=names.engine_revision(owner.key, blueprint.revision),
        component="engine",
        labels=revision,
        annotations=annotations,
        spec=spec,
    )


def _pod(blueprint: Blueprint) -> Mapping[str, Any]:
    spec = blueprint.spec
    affinity = _spot_affinity(blueprint.spot)
    return {
        **({"affinity": affinity} if affinity else {}),
        "automountServiceAccountToken": False,
        "containers": [_container(blueprint)],
        # A Service named `vllm` would otherwise set VLLM_PORT, which the engine refuses.
        "enableServiceLinks": False,
        "nodeSelector": {f"{blueprint.resource}.product": blueprint.plan.accelerator},
        "terminationGracePeriodSeconds": _LEAVE_SECONDS + spec.rollout.drain_seconds + _SLACK_SECONDS,
        "tolerations": _tolerations(blueprint.spot),
        "volumes": [
            vllm.claim_volume(spec.model, "model") or {"name": "model", "emptyDir": {}},
            {"name": "shm", "emptyDir": {"medium": "Memory"}},
        ],
    }


def _spot_affinity(spot: bool | None) -> Mapping[str, Any]:
    """Return the affinity that asks for spot nodes (any cloud's mark) or for others (no cloud's mark)."""
    if spot is None:
        return {}
    if spot:
        terms = [{"matchExpressions": [_one_of(label, "In", SPOT_LABELS[label])]} for label in SPOT_LABELS]
    else:
        terms = [{"matchExpressions": [_one_of(label, "NotIn", SPOT_LABELS[label]) for label in SPOT_LABELS]}]
    required = {"nodeSelectorTerms": terms}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}


def _one_of(label: str, operator: str, value: str) -> Mapping[str, Any]:
    return {"key": label, "operator": operator, "values": [value]}


def _tolerations(spot: bool | None) -> list[Mapping[str, Any]]:
    lost = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _LOST_NODE_SECONDS}
    return [
        {"key": GPU_TAINT, "operator": "Exists"},
        *({"key": f"node.kubernetes.io/{state}", **lost} for state in ("not-ready", "unreachable")),
        *({"key": key, "operator": "Exists"} for key in SPOT_LABELS if spot),
    ]


def _container(blueprint: Blueprint) -> Mapping[str, Any]:
    in_claim = vllm.reads_claim(blueprint.spec.model)
    model = {"name": "model", "mountPath": vllm.MODELS_PATH if in_claim else vllm.CACHE_PATH}
    container = {
        "name": names.ENGINE_CONTAINER,
        "image": blueprint.image,
        "imagePullPolicy": "IfNotPresent",
        "args": vllm.arguments(blueprint),
        "ports": [{"name": "http", "containerPort": names.ENGINE_PORT, "protocol": "TCP"}],
        "lifecycle": {"preStop": {"sleep": {"seconds": _LEAVE_SECONDS}}},
        "readinessProbe": {
            "httpGet": {"path": "/health", "port": names.ENGINE_PORT},
            "periodSeconds": 1,
            "timeoutSeconds": 2,
            "failureThreshold": 3,
        },
        "resources": {"limits": {blueprint.resource: str(blueprint.plan.gpus_per_replica)}},
        # Official engine images run as root; what root may do is cut down instead.
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {**model, "readOnly": True} if in_claim else model,
            {"name": "shm", "mountPath": "/dev/shm"},
        ],
    }
    environment = vllm.environment(blueprint)
    return {**container, "env": environment} if environment else container

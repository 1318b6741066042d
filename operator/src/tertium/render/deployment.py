"""The engine's Deployment, spelled as the API server returns it, so that equal compares equal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tertium.api.meta import Manifest
from tertium.core import names
from tertium.core.observed import Owner
from tertium.core.planner import Sizing
from tertium.core.policy import Policy
from tertium.render import vllm
from tertium.render.manifest import child

PRODUCT_LABEL: Final = "nvidia.com/gpu.product"
GPU_RESOURCE: Final = "nvidia.com/gpu"

# Endpoints are removed while this runs: no new request meets an engine that is told to stop.
_LEAVE_SECONDS: Final = 2
_GRACE_SECONDS: Final = _LEAVE_SECONDS + vllm.DRAIN_SECONDS + 28


def build_deployment(
    owner: Owner, sizing: Sizing, *, replicas: int, revision: str, policy: Policy
) -> Manifest:
    """Return the Deployment of `replicas` engines; `revision` is the model's resolved one, or empty."""
    template = {
        "metadata": {"labels": names.labels(owner.key, "engine")},
        "spec": _pod(owner, sizing, revision, policy),
    }
    spec = {
        "replicas": replicas,
        "revisionHistoryLimit": 2,
        "selector": {"matchLabels": dict(names.selector(owner.key, "engine"))},
        # GPUs are scarce: a new replica takes the place of an old one instead of waiting beside it.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
        "template": template,
    }
    return child(
        owner.identity,
        api_version="apps/v1",
        kind="Deployment",
        name=names.engine(owner.key),
        component="engine",
        spec=spec,
    )


def rescaled(owner: Owner, live: Manifest, *, replicas: int) -> Manifest:
    """Return a Deployment as it is with another count: for when there is no plan to build it from."""
    return child(
        owner.identity,
        api_version="apps/v1",
        kind="Deployment",
        name=names.engine(owner.key),
        component="engine",
        spec={**live["spec"], "replicas": replicas},
    )


def _pod(owner: Owner, sizing: Sizing, revision: str, policy: Policy) -> Mapping[str, Any]:
    return {
        "automountServiceAccountToken": False,
        "containers": [_container(owner, sizing, revision, policy)],
        # A Service named `vllm` would otherwise set VLLM_PORT, which the engine refuses.
        "enableServiceLinks": False,
        "nodeSelector": {PRODUCT_LABEL: sizing.accelerator},
        "terminationGracePeriodSeconds": _GRACE_SECONDS,
        "tolerations": [{"key": GPU_RESOURCE, "operator": "Exists"}],
        "volumes": [
            vllm.claim_volume(owner, "model") or {"name": "model", "emptyDir": {}},
            {"name": "shm", "emptyDir": {"medium": "Memory"}},
        ],
    }


def _container(owner: Owner, sizing: Sizing, revision: str, policy: Policy) -> Mapping[str, Any]:
    in_claim = vllm.reads_claim(owner)
    model = {"name": "model", "mountPath": vllm.MODELS_PATH if in_claim else vllm.CACHE_PATH}
    container = {
        "name": names.ENGINE_CONTAINER,
        "image": owner.spec.engine.image or policy.engine_image,
        "imagePullPolicy": "IfNotPresent",
        "args": vllm.arguments(owner, sizing, revision),
        "ports": [{"name": "http", "containerPort": names.ENGINE_PORT, "protocol": "TCP"}],
        "lifecycle": {"preStop": {"sleep": {"seconds": _LEAVE_SECONDS}}},
        "readinessProbe": {
            "httpGet": {"path": "/health", "port": names.ENGINE_PORT},
            "periodSeconds": 1,
            "timeoutSeconds": 2,
            "failureThreshold": 3,
        },
        "resources": {"limits": {GPU_RESOURCE: str(sizing.gpus_per_replica)}},
        # Official engine images run as root; what root may do is cut down instead.
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {**model, "readOnly": True} if in_claim else model,
            {"name": "shm", "mountPath": "/dev/shm"},
        ],
    }
    environment = vllm.environment(owner, policy)
    return {**container, "env": environment} if environment else container

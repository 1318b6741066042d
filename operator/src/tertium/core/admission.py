"""Contradictions inside one spec. The CRD refuses most; objects stored before its rules come here too."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from typing import Final

from tertium.api.conditions import Reason
from tertium.api.v1alpha1 import LLMDeploymentSpec
from tertium.core import names
from tertium.core.arguments import argument_error, variable_error
from tertium.core.errors import Terminal
from tertium.core.lifecycle import GPU_RESOURCES
from tertium.core.source import parse_source

OUR_VOLUMES: Final = ("model", "shm")
OUR_PATHS: Final = ("/models", "/cache", "/dev/shm")
_OUR_PREFIX: Final = "tertium.dev/"
_OUR_LABELS: Final = frozenset(
    {"app.kubernetes.io/name", "app.kubernetes.io/instance", names.MANAGED_BY, names.COMPONENT}
)
_DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"
_PRODUCT_LABEL: Final = "nvidia.com/gpu.product"


def check(spec: LLMDeploymentSpec) -> None:
    """Raise `Terminal` for the first contradiction in `spec`, whatever the plan will be."""
    parse_source(spec.model.source)
    problem = next(_contradictions(spec), None)
    if problem is not None:
        raise Terminal(Reason.INVALID, problem)


def check_plan(spec: LLMDeploymentSpec, flags: Sequence[str]) -> None:
    """Raise `Terminal` when `spec.engine.args` says something else than the flags of its plan."""
    problem = argument_error(spec, flags)
    if problem is not None:
        raise Terminal(Reason.INVALID, problem)


def _contradictions(spec: LLMDeploymentSpec) -> Iterator[str]:
    scaling = spec.scaling
    if scaling.min_replicas > scaling.max_replicas:
        yield (
            f"spec.scaling.minReplicas: {scaling.min_replicas} is more than maxReplicas, "
            f"{scaling.max_replicas}; lower it or raise maxReplicas"
        )
    for problem in (argument_error(spec), variable_error(spec)):
        if problem is not None:
            yield problem
    yield from _metadata(spec)
    yield from _gpus(spec)
    yield from _volumes(spec)


def _metadata(spec: LLMDeploymentSpec) -> Iterator[str]:
    """Yield the labels and annotations that are Tertium's own: they lead requests and owners to the pod."""
    for key in spec.template.labels or {}:
        if key.startswith(_OUR_PREFIX) or key in _OUR_LABELS:
            yield f"spec.template.labels[{key}] is Tertium's own; use another key"
    for key in spec.template.annotations or {}:
        if key.startswith(_OUR_PREFIX) or key == _DELETION_COST:
            yield f"spec.template.annotations[{key}] is Tertium's own; use another key"


def _gpus(spec: LLMDeploymentSpec) -> Iterator[str]:
    """Yield what decides beside the plan which GPUs a replica gets, or how many."""
    if _PRODUCT_LABEL in (spec.template.node_selector or {}):
        yield f"spec.template.nodeSelector[{_PRODUCT_LABEL}]: name the GPU in spec.accelerators instead"
    resources = spec.template.resources
    for kind in ("requests", "limits"):
        for name in (getattr(resources, kind) if resources else None) or {}:
            if name.startswith(GPU_RESOURCES):
                yield (
                    f"spec.template.resources.{kind}[{name}] is decided by the plan; remove it, and pin the "
                    "number of GPUs by spec.parallelism.tensor"
                )


def _volumes(spec: LLMDeploymentSpec) -> Iterator[str]:
    for volume in spec.template.volumes or ():
        if volume.name in OUR_VOLUMES:
            yield f"spec.template.volumes[{volume.name}] is a volume of Tertium's own; give it another name"
    for mount in spec.template.volume_mounts or ():
        if posixpath.normpath(mount.mount_path) in OUR_PATHS:
            yield f"spec.template.volumeMounts[{mount.mount_path}] is a path of Tertium's own; use another"

"""What a user may lay over the engine's pod: placement, metadata, resources, volumes.

Nothing here is decided by the plan. Fields mean what they mean in a pod, so they keep its names.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, StringConstraints, WithJsonSchema

from tertium.api.meta import ATOMIC, ApiModel, keyed_by

_FREE: Final[dict[str, Any]] = {"x-kubernetes-preserve-unknown-fields": True}
_OPEN: Final = ConfigDict(extra="allow", json_schema_extra=_FREE)
_DNS_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_QUANTITY: Final = (
    r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+))?$"
)

ObjectName = Annotated[
    str, StringConstraints(min_length=1, max_length=253, pattern=rf"^{_DNS_LABEL}(\.{_DNS_LABEL})*$")
]
PartName = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=f"^{_DNS_LABEL}$")]
AnnotationValue = Annotated[str, StringConstraints(max_length=4096)]
LabelValue = Annotated[
    str, StringConstraints(max_length=63, pattern="^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$")
]
Quantity = Annotated[
    Annotated[int, Field(ge=0)] | Annotated[str, StringConstraints(max_length=32, pattern=_QUANTITY)],
    WithJsonSchema({"x-kubernetes-int-or-string": True, "minimum": 0, "maxLength": 32, "pattern": _QUANTITY}),
]
OpaqueObject = Annotated[dict[str, Any], WithJsonSchema({"type": "object", **_FREE})]
"""A part of the pod whose shape belongs to Kubernetes; the API server checks it when the pod is made."""


class Toleration(ApiModel):
    """A taint the pod tolerates, as in `pod.spec.tolerations`."""

    key: str | None = Field(
        default=None,
        min_length=1,
        max_length=317,
        description="Taint key; absent with `Exists`: every taint.",
        examples=["team-a/reserved"],
    )
    operator: Literal["Exists", "Equal"] | None = Field(
        default=None, description="`Exists`: any value; `Equal` or absent: the one in `value`."
    )
    value: LabelValue | None = Field(
        default=None, description="Taint value, with `Equal`.", examples=["inference"]
    )
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Taint effect; absent: all effects."
    )
    toleration_seconds: int | None = Field(
        default=None,
        ge=0,
        le=31_536_000,
        description="How long a `NoExecute` taint is tolerated, in seconds; absent: for ever.",
    )


class LocalReference(ApiModel):
    """An object of the deployment's own namespace."""

    name: ObjectName = Field(description="Name of the Secret.", examples=["registry-login"])


class Volume(ApiModel):
    """A volume of the pod. Beside its name it holds one source, as in `pod.spec.volumes`."""

    model_config = _OPEN

    name: PartName = Field(description="Name of the volume.", examples=["adapters"])


class VolumeMount(ApiModel):
    """Where the engine sees a volume; more fields as in `pod.spec.containers[].volumeMounts`."""

    model_config = _OPEN

    name: PartName = Field(description="Name of the volume.", examples=["adapters"])
    mount_path: str = Field(
        min_length=1,
        max_length=1024,
        pattern="^/[^:]*$",
        description="Absolute path inside the container.",
        examples=["/adapters"],
    )


class Resources(ApiModel):
    """Resources of the engine's container besides its GPUs, which the plan decides."""

    requests: dict[str, Quantity] | None = Field(
        default=None,
        max_length=32,
        description="What the scheduler reserves.",
        examples=[{"cpu": "8", "memory": "64Gi"}],
    )
    limits: dict[str, Quantity] | None = Field(
        default=None,
        max_length=32,
        description="What the container may use at most.",
        examples=[{"memory": "96Gi"}],
    )


class Template(ApiModel):
    """Laid over the engine's pod. Lists of named entries are merged by name, maps by key."""

    labels: dict[str, LabelValue] | None = Field(
        default=None,
        max_length=64,
        description="More labels of the pods; Tertium's own cannot be changed.",
        examples=[{"cost-center": "42"}],
    )
    annotations: dict[str, AnnotationValue] | None = Field(
        default=None,
        max_length=32,
        description="More annotations of the pods.",
        examples=[{"sidecar.istio.io/inject": "false"}],
    )
    node_selector: dict[str, LabelValue] | None = Field(
        default=None,
        max_length=32,
        description="Labels a node must have, besides the GPU's product.",
        examples=[{"topology.kubernetes.io/zone": "eu-1a"}],
    )
    tolerations: tuple[Toleration, ...] | None = Field(
        default=None,
        max_length=32,
        description="Taints the pods tolerate, besides that of `nvidia.com/gpu`.",
        json_schema_extra=ATOMIC,
    )
    affinity: OpaqueObject | None = Field(
        default=None, description="Where the pods may run, as in `pod.spec.affinity`."
    )
    topology_spread_constraints: tuple[OpaqueObject, ...] | None = Field(
        default=None,
        max_length=16,
        description="How the pods are spread, as in `pod.spec.topologySpreadConstraints`.",
        json_schema_extra=ATOMIC,
    )
    resources: Resources | None = Field(
        default=None, description="CPU, memory and other resources of the engine's container, besides GPUs."
    )
    priority_class_name: ObjectName | None = Field(
        default=None, description="PriorityClass of the pods.", examples=["interactive"]
    )
    runtime_class_name: ObjectName | None = Field(
        default=None, description="RuntimeClass of the pods.", examples=["nvidia"]
    )
    service_account_name: ObjectName | None = Field(
        default=None,
        description="ServiceAccount of the pods; its token is not mounted.",
        examples=["model-reader"],
    )
    scheduler_name: ObjectName | None = Field(
        default=None, description="Scheduler of the pods.", examples=["kai-scheduler"]
    )
    volumes: tuple[Volume, ...] | None = Field(
        default=None,
        max_length=32,
        description="More volumes, as in `pod.spec.volumes`.",
        json_schema_extra=keyed_by("name"),
    )
    volume_mounts: tuple[VolumeMount, ...] | None = Field(
        default=None,
        max_length=32,
        description="Where the engine's container sees the volumes.",
        json_schema_extra=keyed_by("mountPath"),
    )
    image_pull_secrets: tuple[LocalReference, ...] | None = Field(
        default=None,
        max_length=16,
        description="Secrets for private registries, in the deployment's namespace.",
        json_schema_extra=keyed_by("name"),
    )
    security_context: OpaqueObject | None = Field(
        default=None, description="User, groups and more of the pods, as in `pod.spec.securityContext`."
    )

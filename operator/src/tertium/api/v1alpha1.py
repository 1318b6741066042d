"""`LLMDeployment` v1alpha1: the spec a user writes and the status Tertium answers with.

The field descriptions are the API's documentation: the CRD and the reference page are generated from them.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from tertium.api.meta import ApiModel, Condition

GROUP = "tertium.dev"
VERSION = "v1alpha1"
KIND = "LLMDeployment"
PLURAL = "llmdeployments"

Argument = Annotated[str, StringConstraints(max_length=4096)]
Flag = Annotated[str, StringConstraints(max_length=256)]


class SecretReference(ApiModel):
    """A Secret in the deployment's own namespace."""

    name: str = Field(min_length=1, max_length=253, description="Name of the Secret.")


class Model(ApiModel):
    """Which model, and where its files are."""

    source: str = Field(
        min_length=6,
        max_length=1024,
        description="Where the model's files are: `hf://ORG/NAME` (a hub) or `pvc://CLAIM/PATH` (a "
        "PersistentVolumeClaim of this namespace).",
        examples=["hf://Qwen/Qwen3-8B", "pvc://models/qwen3-8b"],
    )
    revision: str | None = Field(
        default=None, min_length=1, max_length=128, description="Branch, tag or commit of an `hf://` source."
    )
    credentials_secret_ref: SecretReference | None = Field(
        default=None, description="Secret whose key `token` holds the hub's access token."
    )
    served_name: str | None = Field(
        default=None,
        min_length=1,
        max_length=128,
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9._:-]*[A-Za-z0-9])?$",
        description="Short name that callers may use as `model`; default: the object's name. "
        "`NAMESPACE/NAME` always works.",
    )


class Capacity(ApiModel):
    """What one replica must be able to hold."""

    context_tokens: int = Field(
        default=8192,
        ge=16,
        le=16_777_216,
        description="Longest sequence, prompt and answer together, in tokens. One such sequence must fit "
        "beside the weights: this decides the number of GPUs.",
    )
    concurrent_sequences: int = Field(
        default=64,
        ge=1,
        le=4096,
        description="Most sequences one replica runs at the same time; they share the KV cache.",
    )


class Accelerator(ApiModel):
    """A kind of GPU the deployment may run on."""

    product: str = Field(
        min_length=1,
        max_length=63,
        description="Value of the node label `nvidia.com/gpu.product`.",
        examples=["NVIDIA-H100-80GB-HBM3"],
    )


class Parallelism(ApiModel):
    """Pins what the planner would otherwise compute."""

    tensor: int | None = Field(
        default=None, ge=1, le=64, description="Tensor parallel size; default: the smallest that fits."
    )


class Scaling(ApiModel):
    """How many replicas, and when to sleep."""

    min_replicas: int = Field(
        default=0, ge=0, le=1000, description="Fewest replicas; 0 lets the model sleep."
    )
    max_replicas: int = Field(default=1, ge=1, le=1000, description="Most replicas.")
    idle_seconds: int = Field(
        default=600,
        ge=1,
        le=604_800,
        description="Seconds without a running or held request, counted from the last finished answer, after "
        "which the replicas above `minReplicas` stop.",
    )


class ColdStart(ApiModel):
    """What callers of a sleeping model meet."""

    hold_seconds: int = Field(
        default=300,
        ge=1,
        le=3600,
        description="Longest time a request is held while the model wakes, in seconds.",
    )
    max_pending: int = Field(
        default=256,
        ge=1,
        le=100_000,
        description="Most requests held at the same time by one gateway replica.",
    )


class EnvVar(ApiModel):
    """An environment variable of the engine."""

    name: str = Field(
        min_length=1, max_length=256, pattern="^[A-Za-z_][A-Za-z0-9_]*$", description="Its name."
    )
    value: str = Field(default="", max_length=4096, description="Its value.")


class Engine(ApiModel):
    """Escape hatch to the engine. Planned flags win; an argument that repeats one is refused."""

    image: str | None = Field(
        default=None,
        min_length=1,
        max_length=512,
        description="Engine image; default: the operator's setting.",
    )
    args: tuple[Argument, ...] = Field(
        default=(),
        max_length=64,
        description="More arguments for `vllm serve`.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    env: tuple[EnvVar, ...] = Field(
        default=(),
        max_length=64,
        description="More environment variables.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )


class LLMDeploymentSpec(ApiModel):
    """What the user wants."""

    model: Model = Field(description="Which model, and where its files are.")
    capacity: Capacity = Field(default=Capacity(), description="What one replica must be able to hold.")
    accelerators: tuple[Accelerator, ...] = Field(
        default=(),
        max_length=16,
        description="Kinds of GPU in order of preference; default: any the cluster has, fewest GPUs first.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    parallelism: Parallelism = Field(default=Parallelism(), description="Pins the planner's result.")
    scaling: Scaling = Field(default=Scaling(), description="How many replicas, and when to sleep.")
    cold_start: ColdStart = Field(default=ColdStart(), description="What callers of a sleeping model meet.")
    engine: Engine = Field(default=Engine(), description="Escape hatch to the engine.")
    replicas: int | None = Field(
        default=None,
        ge=0,
        le=1000,
        description="Pins the number of replicas (what `kubectl scale` writes); absent: Tertium scales.",
    )


class MemoryPlan(ApiModel):
    """Memory of one GPU by part, in MiB."""

    total_mebibytes: int = Field(ge=0, description="What the GPU has.")
    weights_mebibytes: int = Field(ge=0, description="Weights of this rank.")
    overhead_mebibytes: int = Field(ge=0, description="Context, activation and graphs.")
    kv_cache_mebibytes: int = Field(ge=0, description="KV cache that `capacity` needs on this rank.")
    headroom_mebibytes: int = Field(ge=0, description="What is left of the budget.")


class PlanStatus(ApiModel):
    """The minimum world size and why it is that."""

    accelerator: str = Field(max_length=63, description="GPU product planned for.")
    gpus_per_replica: int = Field(ge=1, description="GPUs one replica takes: the world size.")
    tensor_parallel_size: int = Field(ge=1, description="Ranks every layer is split over.")
    memory_per_gpu: MemoryPlan = Field(description="Where the memory of each GPU goes.")
    flags: tuple[Flag, ...] = Field(
        default=(),
        max_length=64,
        description="Engine flags the plan rests on.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    why: str = Field(max_length=4096, description="The arithmetic in words.")


class StartPhase(ApiModel):
    """One part of a start."""

    name: str = Field(max_length=64, description="Name of the phase.")
    millis: int = Field(ge=0, description="How long it took, in milliseconds.")


class StartRecord(ApiModel):
    """How long a start took."""

    total_millis: int = Field(ge=0, description="From the pod's creation to its readiness, in milliseconds.")
    phases: tuple[StartPhase, ...] = Field(
        default=(),
        max_length=16,
        description="Its parts in order.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )


class ColdStartStatus(ApiModel):
    """What is known of this model's starts."""

    last: StartRecord | None = Field(default=None, description="The last start that became ready.")


class ScalingStatus(ApiModel):
    """The replica count that was decided."""

    desired: int = Field(ge=0, description="Replicas wanted.")
    why: str = Field(max_length=1024, description="The rule that decided.")


class LLMDeploymentStatus(ApiModel):
    """What Tertium observed."""

    conditions: tuple[Condition, ...] = Field(
        default=(),
        max_length=16,
        description="Accepted, Planned, Progressing, Active, Ready.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    observed_generation: int = Field(
        default=0, ge=0, description="The generation of the spec this was said about."
    )
    replicas: int = Field(default=0, ge=0, description="Replicas that exist.")
    ready_replicas: int = Field(default=0, ge=0, description="Replicas that answer requests.")
    selector: str = Field(
        default="", max_length=1024, description="Label selector of the replicas (scale subresource)."
    )
    url: str = Field(
        default="", max_length=1024, description="Base URL of the OpenAI-compatible API inside the cluster."
    )
    model_digest: str = Field(
        default="",
        max_length=128,
        description="Digest of the model's config and weight list the plan was made for.",
    )
    plan: PlanStatus | None = Field(default=None, description="The minimum world size and why it is that.")
    scaling: ScalingStatus | None = Field(default=None, description="The replica count that was decided.")
    cold_start: ColdStartStatus = Field(
        default=ColdStartStatus(), description="What is known of this model's starts."
    )


class LLMDeployment(ApiModel):
    """An on-demand LLM deployment. `metadata` is opaque here: the API server owns its shape."""

    spec: LLMDeploymentSpec = Field(description="What the user wants.")
    status: LLMDeploymentStatus = Field(default=LLMDeploymentStatus(), description="What Tertium observed.")

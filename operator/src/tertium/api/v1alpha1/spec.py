"""What the user wants. Only `model.source` is required; everything else has a default that works.

Bounds and patterns stand here, what ties fields together in `api/rules.py`. The API server checks both.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tertium.api.meta import ATOMIC, ApiModel
from tertium.api.v1alpha1.engine import Engine
from tertium.api.v1alpha1.template import ObjectName, Template


class SecretReference(ApiModel):
    """A Secret in the deployment's own namespace."""

    name: ObjectName = Field(description="Name of the Secret.", examples=["hf-token"])


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
        default=None,
        min_length=1,
        max_length=128,
        pattern="^[A-Za-z0-9][A-Za-z0-9._/-]*$",
        description="Branch, tag or commit of an `hf://` source; absent: the hub's default branch.",
        examples=["main", "b968826d9c46dd6066d109eabc6255188de91218"],
    )
    credentials_secret_ref: SecretReference | None = Field(
        default=None, description="Secret whose key `token` holds the hub's access token."
    )
    served_name: str | None = Field(
        default=None,
        min_length=1,
        max_length=128,
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9._:-]*[A-Za-z0-9])?$",
        description="Short name that callers may use as `model` while no older deployment of the cluster has "
        "it; absent: the object's name. `NAMESPACE/NAME` always works. Cannot be changed.",
        examples=["qwen3-8b"],
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
        pattern="^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
        description="Value of the node label `nvidia.com/gpu.product`.",
        examples=["NVIDIA-H100-80GB-HBM3"],
    )
    spot: bool | None = Field(
        default=None,
        description="True: only nodes the cloud may take back (spot, preemptible), whose taints are then "
        "tolerated. False: only other nodes. Absent: both, spot taints not tolerated.",
    )


class Parallelism(ApiModel):
    """Pins what the planner would otherwise compute."""

    tensor: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="Tensor parallel size: GPUs every layer is split over; absent: the smallest that fits.",
    )
    pipeline: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="Pipeline parallel size: stages the layers are divided into; absent: 1, and more only "
        "where one node does not do.",
    )


class Precision(ApiModel):
    """What may be given up to need fewer GPUs."""

    kv_cache: Literal["auto", "fp8IfNeeded", "fp8"] = Field(
        default="auto",
        description="Precision of the KV cache: `auto` keeps the model's own, `fp8` halves it, `fp8IfNeeded` "
        "halves it before another GPU is taken.",
    )


class Targets(ApiModel):
    """What callers should see."""

    time_to_first_token_millis: int | None = Field(
        default=None,
        ge=1,
        le=3_600_000,
        description="Time to the first token, in milliseconds.",
        examples=[2000],
    )
    time_per_output_token_millis: int | None = Field(
        default=None,
        ge=1,
        le=60_000,
        description="Time between two tokens, in milliseconds.",
        examples=[100],
    )


class Scaling(ApiModel):
    """How many replicas, and when to sleep."""

    min_replicas: int = Field(
        default=0, ge=0, le=1000, description="Fewest replicas; 0 lets the model sleep."
    )
    max_replicas: int = Field(default=1, ge=1, le=1000, description="Most replicas Tertium starts.")
    preference: Literal["Economy", "Balanced", "Interactive"] = Field(
        default="Balanced",
        description="What a request that meets a sleeping model is worth: an idle replica is kept for as "
        "long as its last start took and another 30 (Economy), 120 (Balanced) or 240 (Interactive) "
        "seconds.",
    )
    idle_seconds: int | None = Field(
        default=None,
        ge=1,
        le=604_800,
        description="Seconds without a running or held request, counted from the last finished answer, after "
        "which the replicas above `minReplicas` stop; absent: what `preference` says.",
        examples=[600],
    )
    targets: Targets = Field(
        default=Targets(),
        description="What callers should see. Replicas are added by `capacity.concurrentSequences`; the "
        "targets are kept for a scaler that can measure them and change nothing yet.",
    )


class ColdStart(ApiModel):
    """What callers of a sleeping model meet."""

    mode: Literal["Hold", "Reject"] = Field(
        default="Hold",
        description="`Hold` keeps a request until the model answers; `Reject` wakes the model and answers "
        "503 with `Retry-After` at once.",
    )
    hold_seconds: int = Field(
        default=300,
        ge=1,
        le=3600,
        description="Longest time a request is held while the model wakes, in seconds, unless its caller "
        "asks for another.",
    )
    max_hold_seconds: int = Field(
        default=3600,
        ge=0,
        le=3600,
        description="Longest time a caller may ask to be held for with the header `X-Tertium-Hold-Seconds` "
        "(or `X-Scale-Up-Timeout`), whatever `mode` says, in seconds; at least what is held unasked.",
    )
    max_pending: int = Field(
        default=256,
        ge=1,
        le=100_000,
        description="Most requests held for this model at the same time by one gateway replica.",
    )
    heartbeat_seconds: int = Field(
        default=10,
        ge=1,
        le=60,
        description="Pause between two signs of life on a held stream, in seconds. They begin where the "
        "wait is expected to last, or has lasted, for more than 50 seconds.",
    )
    warm_up: bool = Field(
        default=False,
        description="True: a new replica answers one token to nobody before it gets requests, so that no "
        "caller waits for what an engine makes at its first. It gets them after a minute in any case.",
    )


class Routing(ApiModel):
    """Which of several replicas gets a request."""

    affinity: Literal["None", "Prefix"] = Field(
        default="None",
        description="`None`: the replica with the fewest requests. `Prefix`: requests whose prompts begin "
        "alike go to the same replica, which then has the beginning in its cache; one that is a quarter "
        "busier than the average passes them on.",
    )
    prefix_characters: int = Field(
        default=1024,
        ge=16,
        le=65_536,
        description="With `Prefix`: how many characters of the request's `messages`, `prompt`, `input` or "
        "`query`, as they stand in its JSON, are compared. More than the system prompt that "
        "all callers share has, or they would all go to one replica.",
        examples=[4096],
    )


class Rollout(ApiModel):
    """How a changed spec replaces running replicas."""

    strategy: Literal["Surge", "Recreate"] = Field(
        default="Surge",
        description="`Surge` starts a new replica beside the old ones, which takes free GPUs; `Recreate` "
        "stops the old ones first.",
    )
    on_failure: Literal["Wait", "Rollback"] = Field(
        default="Wait",
        description="When the new replicas cannot start: `Wait` tries again, less and less often, and "
        "keeps what serves; `Rollback` returns to the revision that served until the spec changes again.",
    )
    drain_seconds: int = Field(
        default=120,
        ge=0,
        le=3600,
        description="Longest time a stopping replica may take to finish its answers, in seconds.",
    )


class LLMDeploymentSpec(ApiModel):
    """What the user wants."""

    model: Model = Field(description="Which model, and where its files are.")
    capacity: Capacity = Field(default=Capacity(), description="What one replica must be able to hold.")
    accelerators: tuple[Accelerator, ...] = Field(
        default=(),
        max_length=16,
        description="Kinds of GPU in order of preference; empty: any the cluster has, fewest GPUs first.",
        json_schema_extra=ATOMIC,
    )
    placement_seconds: int = Field(
        default=60,
        ge=1,
        le=3600,
        description="How long a replica may wait for GPUs of one entry of `accelerators` before the next "
        "entry is tried, in seconds.",
    )
    parallelism: Parallelism = Field(default=Parallelism(), description="Pins the planner's result.")
    precision: Precision = Field(default=Precision(), description="What may be given up to need fewer GPUs.")
    scaling: Scaling = Field(default=Scaling(), description="How many replicas, and when to sleep.")
    cold_start: ColdStart = Field(default=ColdStart(), description="What callers of a sleeping model meet.")
    routing: Routing = Field(default=Routing(), description="Which of several replicas gets a request.")
    rollout: Rollout = Field(default=Rollout(), description="How a changed spec replaces running replicas.")
    engine: Engine = Field(default=Engine(), description="Escape hatch to the engine.")
    template: Template = Field(default=Template(), description="Laid over the engine's pod.")
    replicas: int | None = Field(
        default=None,
        ge=0,
        le=1000,
        description="Pins the number of replicas, whatever `scaling` says: what `kubectl scale` and a "
        "HorizontalPodAutoscaler write, which needs a number to begin with. Absent: Tertium scales.",
        examples=[2],
    )
    suspend: bool = Field(
        default=False,
        description="True: finish what runs, then keep zero replicas and refuse requests until it is false. "
        "It wins over `replicas` and `scaling`.",
    )
    expire_after_seconds: int | None = Field(
        default=None,
        ge=60,
        le=31_536_000,
        description="Delete this object so many seconds after its creation; absent: never.",
        examples=[86_400],
    )
    delete_after_idle_seconds: int | None = Field(
        default=None,
        ge=60,
        le=31_536_000,
        description="Delete this object after it has had no replica for so many seconds; absent: never.",
        examples=[3600],
    )

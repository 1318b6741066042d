"""What Tertium answers with: what was observed or decided; nothing changes while the world does not."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from tertium.api.meta import ATOMIC, ApiModel, Condition, Time, keyed_by

Flag = Annotated[str, StringConstraints(max_length=256)]


class MemoryPlan(ApiModel):
    """Memory of one GPU by part, in MiB."""

    total_mebibytes: int = Field(ge=0, description="What the GPU has.")
    weights_mebibytes: int = Field(ge=0, description="Weights of this rank.")
    activation_mebibytes: int = Field(default=0, ge=0, description="Peak of a forward pass and the sampler.")
    non_torch_mebibytes: int = Field(default=0, ge=0, description="Kernels and buffers of collectives.")
    cuda_graph_mebibytes: int = Field(default=0, ge=0, description="CUDA graphs.")
    kv_cache_mebibytes: int = Field(ge=0, description="KV cache that `capacity` needs on this rank.")
    headroom_mebibytes: int = Field(ge=0, description="What is left of the budget.")


class PlanStatus(ApiModel):
    """The minimum world size and why it is that."""

    accelerator: str = Field(max_length=63, description="GPU product planned for.")
    gpus_per_replica: int = Field(ge=1, description="GPUs one replica takes: the world size.")
    tensor_parallel_size: int = Field(ge=1, description="Ranks every layer is split over.")
    pipeline_parallel_size: int = Field(default=1, ge=1, description="Stages the layers are divided into.")
    nodes: int = Field(default=1, ge=1, description="Nodes one replica spans.")
    kv_cache_tokens: int = Field(default=0, ge=0, description="Tokens the KV cache of one replica holds.")
    max_concurrent_sequences: int = Field(
        default=0, ge=0, description="Sequences one replica runs at the same time."
    )
    memory_per_gpu: MemoryPlan = Field(description="Where the memory of each GPU goes.")
    flags: tuple[Flag, ...] = Field(
        default=(),
        max_length=64,
        description="Engine flags the plan rests on.",
        json_schema_extra=ATOMIC,
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
        json_schema_extra=keyed_by("name"),
    )


class RecentStart(ApiModel):
    """A start that became ready."""

    pod: str = Field(max_length=253, description="The replica's pod.")
    ready_at: Time = Field(description="When it first answered (RFC 3339).")
    total_millis: int = Field(ge=0, description="From the pod's creation to its readiness, in milliseconds.")


class ColdStartStatus(ApiModel):
    """What is known of this model's starts."""

    eta_seconds: int | None = Field(
        default=None,
        ge=0,
        description="How long a start is expected to take, in seconds: three of four recent ones took no "
        "longer.",
    )
    recent: tuple[RecentStart, ...] = Field(
        default=(),
        max_length=8,
        description="The last starts that became ready, oldest first.",
        json_schema_extra=keyed_by("pod"),
    )
    last: StartRecord | None = Field(default=None, description="The last start that became ready.")


class ScalingStatus(ApiModel):
    """The replica count that was decided."""

    desired: int = Field(ge=0, description="Replicas wanted.")
    why: str = Field(max_length=1024, description="The rule that decided.")
    idle_after_seconds: int | None = Field(
        default=None, ge=0, description="How long a replica is kept without a request, in seconds."
    )


class RolloutStatus(ApiModel):
    """Which revision of the engine's pods is wanted, and which one runs."""

    revision: str = Field(default="", max_length=63, description="The revision the spec asks for.")
    serving_revision: str = Field(
        default="",
        max_length=63,
        description="The revision whose replicas answer, or did until a rollout stopped them, or answer "
        "again after a rollback; empty: none.",
    )
    first_difference: str = Field(
        default="",
        max_length=1024,
        description="The first field in which the two differ; empty: no rollout is under way.",
    )


class Placement(ApiModel):
    """An accelerator that could not be had in time."""

    accelerator: str = Field(max_length=63, description="GPU product.")
    spot: bool | None = Field(default=None, description="As in `spec.accelerators`.")
    gave_up_at: Time = Field(description="When the next one was tried instead (RFC 3339).")
    message: str = Field(default="", max_length=4096, description="What the scheduler said.")


class StartFailures(ApiModel):
    """Starts of one revision that failed, one after another."""

    revision: str = Field(max_length=63, description="The revision that could not start.")
    count: int = Field(
        ge=1, description="How many starts have failed since one succeeded or the spec changed."
    )
    last_at: Time = Field(description="When the last one failed (RFC 3339).")
    message: str = Field(default="", max_length=4096, description="The engine's or the cluster's own words.")


class OpenReplica(ApiModel):
    """A replica whose GPU time is not yet in the sums."""

    pod: str = Field(max_length=253, description="Its pod's name.")
    gpus: int = Field(ge=1, description="GPUs it holds.")
    started_at: Time = Field(description="Since when it holds them (RFC 3339).")
    serving_since: Time | None = Field(
        default=None,
        description="Since when it answers (RFC 3339); absent: it never did.",
    )


class CountedGateway(ApiModel):
    """How much of what one gateway process has counted is in the sums."""

    epoch: str = Field(max_length=64, description="Name of the process's counters, which end with it.")
    pod: str = Field(max_length=253, description="The gateway pod.")
    requests: int = Field(default=0, ge=0, description="As in the sums.")
    unmetered_requests: int = Field(default=0, ge=0, description="As in the sums.")
    prompt_tokens: int = Field(default=0, ge=0, description="As in the sums.")
    completion_tokens: int = Field(default=0, ge=0, description="As in the sums.")


class Usage(ApiModel):
    """What this deployment has used and served.

    GPU time is that of replicas that have ended; the running ones are listed until they do. Requests and
    tokens are added every few minutes, and whenever the status is written for another reason; the gateway's
    metrics have them at once.
    """

    serving_gpu_seconds: int = Field(
        default=0, ge=0, description="GPU-seconds in which a replica could answer."
    )
    starting_gpu_seconds: int = Field(
        default=0, ge=0, description="GPU-seconds in which a replica held GPUs and could not answer yet."
    )
    open: tuple[OpenReplica, ...] = Field(
        default=(),
        max_length=1000,
        description="Replicas that hold GPUs now.",
        json_schema_extra=keyed_by("pod"),
    )
    requests: int = Field(default=0, ge=0, description="Requests answered (status 2xx).")
    unmetered_requests: int = Field(
        default=0,
        ge=0,
        description="Those of them whose answer told no `usage`, such as streams without "
        "`stream_options.include_usage`; their tokens are not counted.",
    )
    prompt_tokens: int = Field(default=0, ge=0, description="Tokens of prompts, as the answers told.")
    completion_tokens: int = Field(default=0, ge=0, description="Tokens generated, as the answers told.")
    counted_at: Time | None = Field(
        default=None, description="When requests were last added (RFC 3339); absent: never."
    )
    counted: tuple[CountedGateway, ...] = Field(
        default=(),
        max_length=100,
        description="What of each gateway process is in the sums.",
        json_schema_extra=keyed_by("epoch"),
    )


class LLMDeploymentStatus(ApiModel):
    """What Tertium observed."""

    conditions: tuple[Condition, ...] = Field(
        default=(),
        max_length=16,
        description="Accepted, Planned, WeightsReady, Progressing, Active, Ready.",
        json_schema_extra=keyed_by("type"),
    )
    observed_generation: int = Field(
        default=-1,
        ge=-1,
        description="The generation of the spec this was said about; -1: Tertium has not seen the object.",
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
    rollout: RolloutStatus | None = Field(
        default=None, description="Which revision of the engine's pods is wanted, and which one runs."
    )
    placements: tuple[Placement, ...] = Field(
        default=(),
        max_length=16,
        description="Accelerators that could not be had in time; each is tried again after a while.",
        json_schema_extra=ATOMIC,
    )
    start_failures: StartFailures | None = Field(
        default=None, description="Starts that failed, one after another; absent: the last one succeeded."
    )
    usage: Usage = Field(default=Usage(), description="What this deployment has used and served.")

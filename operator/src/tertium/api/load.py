"""What one gateway pod reports to the operator about the requests it sees (`GET /load`)."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from tertium.api.meta import ApiModel


class ReplicaLoad(ApiModel):
    """Requests at one replica."""

    active: int = Field(default=0, ge=0, description="Requests running now.")
    finished: int = Field(default=0, ge=0, description="Requests that have ended since it is known here.")


class ModelLoad(ApiModel):
    """Requests for one deployment at one gateway pod. The last four count up as long as `epoch` stays."""

    uid: str = Field(default="", description="UID of the deployment these numbers are about.")
    in_flight: int = Field(ge=0, description="Requests not yet fully answered, held ones included.")
    held: int = Field(ge=0, description="Requests that wait for the model to wake.")
    replicas: dict[str, ReplicaLoad] = Field(
        default_factory=dict, description="Requests by the replica's IP address."
    )
    last_finished: datetime | None = Field(
        default=None, description="When a request was last in flight here; null: not since `since`."
    )
    requests: int = Field(default=0, ge=0, description="Requests answered (status 2xx).")
    unmetered_requests: int = Field(default=0, ge=0, description="Those of them that told no `usage`.")
    prompt_tokens: int = Field(default=0, ge=0, description="Tokens of prompts, as answers told.")
    completion_tokens: int = Field(default=0, ge=0, description="Tokens generated, as answers told.")


class LoadReport(ApiModel):
    """All deployments a gateway pod routes to, keyed `namespace/name`; a missing one is not known there."""

    since: datetime = Field(description="Since when this pod has been watching.")
    epoch: str = Field(
        default="", description="Which life of Envoy the counters belong to; empty: not to be added up."
    )
    models: dict[str, ModelLoad] = Field(description="Load by deployment.")

"""What one gateway pod reports to the operator about the requests it sees (`GET /load`)."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from tertium.api.meta import ApiModel


class ModelLoad(ApiModel):
    """Requests for one deployment at one gateway pod."""

    in_flight: int = Field(ge=0, description="Requests not yet fully answered, held ones included.")
    held: int = Field(ge=0, description="Requests that wait for the model to wake.")
    streams: dict[str, int] = Field(
        default_factory=dict, description="Requests running now, by the replica's IP address."
    )
    last_finished: datetime | None = Field(
        default=None, description="When a request was last in flight here; null: not since `since`."
    )


class LoadReport(ApiModel):
    """All deployments a gateway pod routes to, keyed `namespace/name`; a missing one is not known there."""

    since: datetime = Field(description="Since when this pod has been counting.")
    models: dict[str, ModelLoad] = Field(description="Load by deployment.")

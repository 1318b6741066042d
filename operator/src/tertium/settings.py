"""Settings of the operator, from environment variables that start with `TERTIUM_`."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from typing import Final, Literal

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from tertium.api.conditions import Reason
from tertium.api.meta import ObjectKey
from tertium.core.errors import Terminal
from tertium.core.policy import Policy
from tertium.runtime.leader import Terms

PREFIX: Final = "TERTIUM_"


class OperatorSettings(BaseSettings):
    """What the installation decides; the chart sets every one of these."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    engine_image: str = Field(min_length=1, description="Engine image of deployments that name none.")
    operator_image: str = Field(min_length=1, description="This program's image; inspections run it too.")
    gateway_url: str = Field(
        default="http://tertium-gateway.tertium-system/v1", description="What `status.url` says."
    )
    gateway_namespace: str = Field(default="tertium-system", description="Namespace of the gateway.")
    gateway_deployment: str = Field(
        default="tertium-gateway", description="Name of the gateway's Deployment."
    )
    hub_endpoint: str = Field(default="https://huggingface.co", description="Where `hf://` models come from.")
    operator_namespace: str = Field(
        default="tertium-system", description="Namespace of the leader Lease: the operator's own."
    )
    operator_lease: str = Field(default="tertium-operator", description="Name of the leader Lease.")
    lease_seconds: int = Field(
        default=15, ge=3, le=3600, description="After how long without a renewal another operator leads."
    )
    renew_seconds: int = Field(
        default=10, ge=2, le=3600, description="How long after its last renewal a leader goes on writing."
    )
    retry_seconds: int = Field(
        default=2, ge=1, le=3600, description="How often a leader renews and the others look."
    )
    health_port: int = Field(default=8081, ge=1, le=65535, description="`/livez`, `/readyz`, `/metrics`.")
    pod_name: str = Field(
        default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}",
        min_length=1,
        description="Name of this pod: the holder of the Lease while it leads.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="Log level.")

    @model_validator(mode="after")
    def _terms_are_ordered(self) -> OperatorSettings:
        if not self.lease_seconds > self.renew_seconds > self.retry_seconds:
            raise ValueError(
                "TERTIUM_LEASE_SECONDS must be more than TERTIUM_RENEW_SECONDS, and that more than "
                f"TERTIUM_RETRY_SECONDS; got {self.lease_seconds}, {self.renew_seconds}, {self.retry_seconds}"
            )
        return self

    @property
    def terms(self) -> Terms:
        """How long leadership lasts."""
        return Terms(
            lease_seconds=self.lease_seconds,
            renew_seconds=self.renew_seconds,
            retry_seconds=self.retry_seconds,
        )

    @property
    def lease(self) -> ObjectKey:
        """The leader Lease."""
        return ObjectKey(self.operator_namespace, self.operator_lease)

    @property
    def policy(self) -> Policy:
        """The part decisions rest on."""
        return Policy(
            engine_image=self.engine_image,
            operator_image=self.operator_image,
            gateway_url=self.gateway_url,
            hub_endpoint=self.hub_endpoint,
        )

    @property
    def gateway(self) -> ObjectKey:
        """The gateway's Deployment."""
        return ObjectKey(self.gateway_namespace, self.gateway_deployment)


def load_settings() -> OperatorSettings:
    """Read the environment. Raises `Terminal` naming the first variable that is missing or wrong."""
    return _checked(OperatorSettings)


def settings_of(environment: Mapping[str, str]) -> OperatorSettings:
    """Read another process's environment. Raises as `load_settings` does."""
    values = {name.removeprefix(PREFIX).lower(): value for name, value in environment.items()}
    known = {name: value for name, value in values.items() if name in OperatorSettings.model_fields}
    return _checked(lambda: OperatorSettings.model_validate(known))


def _checked(read: Callable[[], OperatorSettings]) -> OperatorSettings:
    try:
        return read()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if not first["loc"]:
            raise Terminal(Reason.INVALID, first["msg"].removeprefix("Value error, ")) from error
        name = f"TERTIUM_{'_'.join(str(part) for part in first['loc']).upper()}"
        raise Terminal(Reason.INVALID, f"environment variable {name}: {first['msg']}") from error

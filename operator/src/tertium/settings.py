"""Settings of the operator, from environment variables that start with `TERTIUM_`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from tertium.api.conditions import Reason
from tertium.api.meta import ObjectKey
from tertium.core.errors import Terminal
from tertium.core.policy import Policy


class OperatorSettings(BaseSettings):
    """What the installation decides; the chart sets every one of these."""

    model_config = SettingsConfigDict(env_prefix="TERTIUM_", frozen=True)

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
    health_port: int = Field(default=8081, ge=1, le=65535, description="`/livez` and `/readyz`.")
    pod_name: str = Field(default="operator", description="Name of this pod, for logs.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="Log level.")

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
    try:
        return OperatorSettings()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = f"TERTIUM_{'_'.join(str(part) for part in first['loc']).upper()}"
        raise Terminal(Reason.INVALID, f"environment variable {name}: {first['msg']}") from error

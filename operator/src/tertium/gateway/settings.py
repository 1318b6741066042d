"""Settings of one gateway pod, from environment variables that start with `TERTIUM_`."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from tertium.gateway.waiters import Bounds
from tertium.render.envoy.layout import Layout

_MEBIBYTE: Final = 1024 * 1024


class GatewaySettings(BaseSettings):
    """Where Envoy's files and ports are, and how long a pod that stops waits for its requests."""

    model_config = SettingsConfigDict(env_prefix="TERTIUM_", frozen=True)

    pod_name: str = Field(default="gateway", description="Name of this pod; it signs the demand Leases.")
    envoy_dir: Path = Field(default=Path("/etc/tertium/envoy"), description="Directory shared with Envoy.")
    filter_file: Path = Field(
        default=Path("/usr/local/lib/tertium/filter.so"), description="Tertium's filter, which Envoy loads."
    )
    listen_port: int = Field(default=8080, ge=1, le=65535, description="Where callers connect to Envoy.")
    admin_port: int = Field(default=9901, ge=1, le=65535, description="Envoy's admin interface, on loopback.")
    activator_port: int = Field(default=9109, ge=1, le=65535, description="The activator, on loopback.")
    resume_port: int = Field(
        default=9111, ge=1, le=65535, description="Where the activator sends held streams on, on loopback."
    )
    health_port: int = Field(
        default=9112, ge=1, le=65535, description="`/healthz` of Envoy: whether this pod takes callers."
    )
    report_port: int = Field(
        default=9110, ge=1, le=65535, description="`/load`, `/metrics`, `/livez` and `/readyz`."
    )
    tls_dir: Path | None = Field(
        default=None, description="Directory with tls.crt and tls.key for callers; absent: no encryption."
    )
    trusted_hops: int = Field(
        default=0, ge=0, le=16, description="Proxies in front whose word on the caller's address counts."
    )
    max_pending: int = Field(
        default=4096, ge=1, le=100_000, description="Most requests held at the same time, for all models."
    )
    max_pending_mebibytes: int = Field(
        default=512,
        ge=1,
        le=1_048_576,
        description="Most that the bodies of held requests may have; Envoy takes up to twice as much memory.",
    )
    max_kept_mebibytes: int = Field(
        default=128,
        ge=0,
        le=1_048_576,
        description="Most that the activator keeps of the bodies of held streams, to send them on itself.",
    )
    drain_seconds: int = Field(
        default=120, ge=1, le=86_400, description="Longest wait for running requests when the pod stops."
    )
    auth_mode: Literal["None", "APIKey"] = Field(
        default="None", description="Whether callers need a key: `APIKey` objects say which."
    )
    namespace: str = Field(
        default="tertium-system", description="Namespace of this pod; keys there may name other namespaces."
    )
    gateway_labels: str = Field(
        default="app.kubernetes.io/name=tertium,app.kubernetes.io/component=gateway",
        description="Label selector of the gateway pods of this namespace, which share the limits of keys.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="Log level.")

    @property
    def layout(self) -> Layout:
        """The same, as the Envoy resources need it."""
        return Layout(
            directory=str(self.envoy_dir),
            listen_port=self.listen_port,
            admin_port=self.admin_port,
            activator_port=self.activator_port,
            resume_port=self.resume_port,
            health_port=self.health_port,
            tls_directory="" if self.tls_dir is None else str(self.tls_dir),
            trusted_hops=self.trusted_hops,
            filter_file=str(self.filter_file),
            api_keys=self.auth_mode == "APIKey",
        )

    @property
    def bounds(self) -> Bounds:
        """The most this pod holds."""
        return Bounds(
            requests=self.max_pending,
            body_bytes=self.max_pending_mebibytes * _MEBIBYTE,
            kept_bytes=self.max_kept_mebibytes * _MEBIBYTE,
        )

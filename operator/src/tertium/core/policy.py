"""Operator-wide numbers and names that decisions and manifests rest on. Read from nowhere, only handed in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the installation sets, the same for every deployment."""

    engine_image: str
    operator_image: str
    gateway_url: str
    hub_endpoint: str = "https://huggingface.co"
    inspection_retry_seconds: float = 60.0
    """How long a failed inspection stays before it is tried again."""
    load_fresh_seconds: float = 5.0
    """Older load reports say nothing."""

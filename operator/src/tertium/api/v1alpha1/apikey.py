"""`APIKey` v1alpha1: who may ask the gateway for which deployments, and how often.

The object holds the SHA-256 of a random key, never the key: whoever reads it can check a key, not make one.
"""

from __future__ import annotations

from pydantic import Field

from tertium.api.meta import ATOMIC, ApiModel, Time

_PATTERN = r"^(\*|[a-z0-9]([a-z0-9.-]*[a-z0-9])?|[a-z0-9][a-z0-9.-]*\*)$"


class Allowed(ApiModel):
    """Deployments a key may use, by namespace and name. A final `*` stands for any ending."""

    namespace: str | None = Field(
        default=None,
        min_length=1,
        max_length=63,
        pattern=_PATTERN,
        description="Namespace of the deployments; absent: the key's own. Another one counts only in a key "
        "of the namespace Tertium runs in: nobody grants himself what belongs to others.",
        examples=["team-a", "team-*"],
    )
    name: str = Field(
        default="*",
        min_length=1,
        max_length=253,
        pattern=_PATTERN,
        description="Name of the deployments.",
        examples=["llama-3-70b", "llama-*"],
    )


class APIKeySpec(ApiModel):
    """Which key, what it may use, and how much of it."""

    key_sha256: str = Field(
        alias="keySHA256",
        min_length=64,
        max_length=64,
        pattern="^[0-9a-f]{64}$",
        description="SHA-256 of the key, in hexadecimal; `tertium key create` makes a key and prints both. "
        "Of two objects with the same one, the older counts.",
        examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    )
    allow: list[Allowed] | None = Field(
        default=None,
        min_length=1,
        max_length=32,
        description="Deployments the key may use; absent: all of its own namespace.",
        json_schema_extra=ATOMIC,
    )
    requests_per_minute: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Most requests in a minute, over all gateway pods: each lets its share through. As many "
        "may come at once. Absent: no limit.",
        examples=[600],
    )
    max_concurrent_requests: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="Most requests at the same time, held ones included, over all gateway pods: each lets "
        "its share through, at least 1. Absent: no limit.",
        examples=[8],
    )
    expires_at: Time | None = Field(
        default=None,
        description="From when the key is refused (RFC 3339); absent: never.",
        examples=["2027-06-30T00:00:00Z"],
    )


class APIKey(ApiModel):
    """A key to the gateway. `metadata` is opaque here: the API server owns its shape."""

    spec: APIKeySpec = Field(description="Which key, what it may use, and how much of it.")

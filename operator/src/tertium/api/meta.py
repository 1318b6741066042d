"""Identity of Kubernetes objects, and the condition every Tertium status is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic.alias_generators import to_camel

Manifest: TypeAlias = Mapping[str, Any]
"""A Kubernetes object as the API server spells it."""


ATOMIC: Final[dict[str, Any]] = {"x-kubernetes-list-type": "atomic"}
"""Of a list: whoever writes it writes all of it."""

Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
"""RFC 3339, as the API server writes it."""


def keyed_by(field: str) -> dict[str, Any]:
    """Of a list: its entries are told apart by `field`, which is unique, and may have different writers."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [field]}


class ApiModel(BaseModel):
    """Base of every API type: camelCase outside, frozen inside, unknown fields refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid")


@dataclass(frozen=True, slots=True, order=True)
class ObjectKey:
    """Namespace and name of an object; its text form `namespace/name` is what callers of the gateway use."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @classmethod
    def of(cls, manifest: Manifest) -> ObjectKey:
        """Return the key of `manifest`; an object without a namespace has the empty one."""
        metadata = manifest["metadata"]
        return cls(metadata.get("namespace", ""), metadata["name"])


class Condition(ApiModel):
    """One observed fact about an object, as `metav1.Condition`."""

    type: str = Field(max_length=316, description="Name of the condition.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether the condition holds.")
    reason: str = Field(
        max_length=1024, pattern="^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$", description="Why, as one word."
    )
    message: str = Field(default="", max_length=32768, description="Why, as a sentence for people.")
    observed_generation: int = Field(default=0, ge=0, description="The generation this was said about.")
    last_transition_time: Time = Field(description="When `status` last changed (RFC 3339).")


def parse_time(text: str) -> datetime:
    """Read an RFC 3339 time as the API server writes it; the result is aware and in UTC.

    Raises ValueError when `text` is no such time.
    """
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)


def created_at(manifest: Manifest) -> datetime:
    """Return when an object was made; one that does not say is younger than all that do."""
    text = manifest["metadata"].get("creationTimestamp")
    return parse_time(text) if text else datetime.max.replace(tzinfo=UTC)


def first_fault(error: ValidationError, *within: str) -> str:
    """Return what is wrong first, as `path: why`; `within` stands before the path. No value is quoted."""
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(part) for part in (*within, *first['loc']))}: {first['msg']}"


def format_time(moment: datetime, *, micro: bool = False) -> str:
    """Write an aware time as RFC 3339 in UTC: whole seconds (`metav1.Time`), or `metav1.MicroTime`."""
    utc = moment.astimezone(UTC)
    return utc.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")

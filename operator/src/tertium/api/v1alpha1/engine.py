"""What a user may say to the engine itself, beside what the plan says."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from tertium.api.meta import ATOMIC, ApiModel, keyed_by

_NO_NUL = r"^[^\x00]*$"
"""A process cannot be given the character NUL."""

Argument = Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=_NO_NUL)]


class EnvVar(ApiModel):
    """An environment variable of the engine."""

    name: str = Field(
        min_length=1,
        max_length=256,
        pattern="^[A-Za-z_][A-Za-z0-9_]*$",
        description="Name of the variable.",
        examples=["VLLM_LOGGING_LEVEL"],
    )
    value: str = Field(
        default="",
        max_length=4096,
        pattern=_NO_NUL,
        description="Value of the variable, as it is: nothing in it is expanded.",
        examples=["DEBUG"],
    )


class Engine(ApiModel):
    """Escape hatch to the engine. Planned flags win; an argument that repeats one is refused."""

    image: str | None = Field(
        default=None,
        min_length=1,
        max_length=512,
        pattern=r"^[A-Za-z0-9\[][A-Za-z0-9._:/@\[\]-]*$",
        description="Engine image; absent: the operator's setting.",
        examples=["vllm/vllm-openai:v0.32.0"],
    )
    start_seconds: int = Field(
        default=1800,
        ge=10,
        le=86_400,
        description="Longest time the engine may take from its container's start to its first answer, in "
        "seconds; a start that takes longer has failed.",
    )
    args: tuple[Argument, ...] = Field(
        default=(),
        max_length=64,
        description="More arguments for `vllm serve`, each as it is: no shell reads them and nothing in "
        "them is expanded.",
        examples=[["--enable-prefix-caching", "--seed=7"]],
        json_schema_extra=ATOMIC,
    )
    env: tuple[EnvVar, ...] = Field(
        default=(),
        max_length=64,
        description="More environment variables.",
        json_schema_extra=keyed_by("name"),
    )

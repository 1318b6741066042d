"""Deployments on the engine double, for tests that are not about the engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import yaml

from e2e.stack import DOUBLE_IMAGE, Sample, Stack

SOURCE: Final = "pvc://models/smollm2-135m-instruct"


def double(**variables: object) -> dict[str, Any]:
    """The engine double with these variables, as `spec.engine`; e2e/engine-double/options.go has them all."""
    environment = [{"name": name, "value": str(value)} for name, value in sorted(variables.items())]
    return {"image": DOUBLE_IMAGE, "env": environment}


def deployment(name: str, namespace: str, **spec: Any) -> str:
    """A small model on the engine double, as YAML; `spec` replaces or adds whole fields."""
    fields: dict[str, Any] = {
        "model": {"source": SOURCE},
        "capacity": {"contextTokens": 512, "concurrentSequences": 4},
        "engine": double(),
    }
    manifest = {
        "apiVersion": "tertium.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {**fields, **spec},
    }
    return yaml.safe_dump(manifest)


@contextmanager
def applied(stack: Stack, name: str, namespace: str, **spec: Any) -> Iterator[Sample]:
    """Such a deployment for the length of a block."""
    sample = stack.apply(deployment(name, namespace, **spec))
    try:
        yield sample
    finally:
        sample.delete()

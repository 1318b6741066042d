"""Paths and answers of the API server, shared by everything that talks to it. It knows no kind by name."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from tertium.api.meta import Manifest
from tertium.core.errors import Retryable
from tertium.kube.cluster import Kind
from tertium.kube.connection import Answer
from tertium.kube.errors import error_of

_ESCAPED: Final = re.compile(r"\\(?:u(d[89ab][0-9a-f]{2})\\ud[c-f][0-9a-f]{2}|.)")
"""An escape of JSON, a pair of halves as one; whatever else is escaped is passed over as a whole."""


def path_of(kind: Kind, namespace: str = "", name: str = "") -> str:
    """Return the path of a kind, of the kind in one namespace, or of one object."""
    root = "/api/v1" if kind.api_version == "v1" else f"/apis/{kind.api_version}"
    inside = f"/namespaces/{namespace}" if kind.namespaced and namespace else ""
    return f"{root}{inside}/{kind.plural}" + (f"/{name}" if name else "")


def apply_body(manifest: Manifest) -> bytes:
    """Return the body of a server-side apply, which the API server reads as YAML.

    JSON is YAML but for letters beyond U+FFFF, an emoji for one: JSON escapes them in two halves, and YAML
    knows no halves. So they stand as they are; all others stay escaped, for YAML folds and refuses some.
    """
    return _ESCAPED.sub(_whole, json.dumps(manifest)).encode()


def parse_object(answer: Answer, what: str) -> dict[str, Any]:
    """Return the object of an answer. Raises `Retryable` or `Terminal` for an answer that is an error."""
    if answer.status >= 400:
        raise error_of(answer.status, what, answer.body, answer.retry_after)
    try:
        parsed = json.loads(answer.body)
    except ValueError as error:
        raise Retryable(f"{what}: the API server's answer is not JSON") from error
    return trimmed(parsed)


def trimmed(manifest: dict[str, Any]) -> dict[str, Any]:
    """Drop what nobody here reads and every object carries: managedFields is often half of it."""
    manifest.get("metadata", {}).pop("managedFields", None)
    return manifest


def _whole(escape: re.Match[str]) -> str:
    return str(json.loads(f'"{escape[0]}"')) if escape[1] else escape[0]

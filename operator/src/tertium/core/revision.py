"""Digests: of what an inspection was asked, and of what was last applied."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from tertium.api.v1alpha1 import Model


def source_digest(model: Model) -> str:
    """Digest of everything an inspection's result depends on; the served name is not part of it."""
    secret = model.credentials_secret_ref.name if model.credentials_secret_ref else ""
    return _digest([model.source, model.revision or "", secret])


def content_digest(content: Any) -> str:
    """Digest of JSON content, whatever the order of its keys."""
    return _digest(content)


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]

"""The Kubernetes Event of a transition. It must not know which transitions there are."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Final

from tertium.api.meta import Manifest, ObjectKey, format_time
from tertium.core import names
from tertium.kube.cluster import EVENT, Kind

SOURCE: Final = "tertium-operator"
MESSAGE_LIMIT: Final = 1024
_NAME_LIMIT: Final = 253
_DIGEST_LENGTH: Final = 16


def build_event(
    kind: Kind, key: ObjectKey, *, uid: str, type: str, reason: str, message: str, now: datetime
) -> Manifest:
    """Return the Event. Its name is made of what it says, so that saying it again moves its time alone."""
    digest = hashlib.sha256("\n".join((uid, type, reason, message)).encode()).hexdigest()[:_DIGEST_LENGTH]
    said_at = format_time(now)
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.kind,
        "metadata": {
            "name": f"{names.fit(key.name, _NAME_LIMIT - _DIGEST_LENGTH - 1)}.{digest}",
            "namespace": key.namespace,
        },
        "involvedObject": {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "name": key.name,
            "namespace": key.namespace,
            "uid": uid,
        },
        "type": type,
        "reason": reason,
        "message": message[:MESSAGE_LIMIT],
        "source": {"component": SOURCE},
        "firstTimestamp": said_at,
        "lastTimestamp": said_at,
        "count": 1,
    }

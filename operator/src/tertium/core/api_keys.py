"""API keys: what a key may use and how much of it. Pure: manifests in, frozen keys out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from tertium.api.meta import Manifest, ObjectKey, created_at, first_fault, parse_time
from tertium.api.v1alpha1 import Allowed, APIKeySpec

_ALL_OF_ITS_NAMESPACE = (Allowed(),)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """One key as the gateway needs it."""

    name: ObjectKey
    """The object; it is who a caller is, in counters and logs."""
    created: datetime
    digest: str
    """SHA-256 of the key, in hexadecimal."""
    allow: tuple[tuple[str, str], ...]
    """Namespace and name of deployments; a final `*` stands for any ending."""
    foreign: tuple[str, ...] = ()
    """Entries of other namespaces, which do not count."""
    requests_per_minute: int | None = None
    most_concurrent: int | None = None
    expires_at: datetime | None = None

    def permits(self, deployment: ObjectKey) -> bool:
        """Whether the key may use this deployment."""
        return any(
            _fits(namespace, deployment.namespace) and _fits(name, deployment.name)
            for namespace, name in self.allow
        )


def parse_api_key(manifest: Manifest, *, home: str) -> ApiKey | str | None:
    """Read one key: None when it is being deleted, a sentence when its spec breaks the schema.

    `home`: the namespace Tertium runs in. Only its keys may name other namespaces. Fields it does not know
    are ignored, as a gateway one version behind the CRD needs it.
    """
    if "deletionTimestamp" in manifest["metadata"]:
        return None
    try:
        spec = APIKeySpec.model_validate(manifest.get("spec", {}), extra="ignore")
        expires_at = None if spec.expires_at is None else parse_time(spec.expires_at)
    except ValidationError as error:
        return first_fault(error, "spec")
    except ValueError:
        return "spec.expiresAt: not a time as in 2027-06-30T00:00:00Z"
    name = ObjectKey.of(manifest)
    named = [(entry.namespace or name.namespace, entry.name) for entry in spec.allow or _ALL_OF_ITS_NAMESPACE]
    own = [entry for entry in named if name.namespace in (home, entry[0])]
    return ApiKey(
        name=name,
        created=created_at(manifest),
        digest=spec.key_sha256,
        allow=tuple(own),
        foreign=tuple("/".join(entry) for entry in named if entry not in own),
        requests_per_minute=spec.requests_per_minute,
        most_concurrent=spec.max_concurrent_requests,
        expires_at=expires_at,
    )


def by_digest(keys: Iterable[ApiKey]) -> Mapping[str, ApiKey]:
    """The keys that count. Whoever copies the hash of an older key gets nothing of its callers."""
    found: dict[str, ApiKey] = {}
    for key in sorted(keys, key=lambda key: (key.created, key.name)):
        found.setdefault(key.digest, key)
    return found


def share(limit: int, gateways: int) -> int:
    """What one of so many gateway pods lets through: rounded up, so that every pod serves every key."""
    return -(-limit // max(gateways, 1))


def _fits(pattern: str, text: str) -> bool:
    return text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern

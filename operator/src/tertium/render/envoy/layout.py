"""Where Envoy's ports and files are, and the private headers between Envoy and the activator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

from google.protobuf.json_format import ParseDict

from tertium.core import names

Resource: TypeAlias = dict[str, Any]
"""A part of Envoy's configuration in the JSON form of its messages."""
M = TypeVar("M")

TYPES: Final = "type.googleapis.com/envoy"
METADATA: Final = "tertium"
STAT_PREFIX: Final = "ingress"
ROUTES: Final = "models"
MODEL_STATE: Final = "tertium.model"
"""Filter state: the name that the request's `model` has, for the look-up of its route."""
ACTIVATOR_CLUSTER: Final = "activator"
ACTIVATOR_HOST: Final = "127.0.0.1"
DISCOVERY_CLUSTER: Final = "discovery"

DEPLOYMENT_HEADER: Final = "x-tertium-deployment"
PROBLEM_HEADER: Final = "x-tertium-problem"
MODEL_HEADER: Final = "x-tertium-model"
STREAM_HEADER: Final = "x-tertium-stream"
"""`true` where the body's `stream` is."""
PREFIX_HEADER: Final = "x-tertium-prefix"
"""The hash of the beginning of the prompt, where that decides on the replica."""
RESUMED_HEADER: Final = "x-tertium-resumed"
"""On a request that the activator has held and sends on itself."""
ASKED_HOLD_HEADER: Final = "x-asked-hold-seconds"
"""What the caller said in X-Tertium-Hold-Seconds."""
ATTEMPT_HEADER: Final = "x-envoy-attempt-count"
LOOKUPS_HEADER: Final = "x-tertium-lookups"
"""How often the activator has had the route of a request looked up again."""
MOST_LOOKUPS: Final = 3
KEY_HEADER: Final = "x-tertium-key"
"""Whose verified API key it was, as `namespace/name`."""
SLOT_HEADER: Final = "x-tertium-slot"
"""Which limiter of concurrency the request is counted by."""
KEY_METADATA: Final = "tertium.key"
"""Namespace of the metadata that the filters for API keys leave each other."""
RELEASED: Final = 599
"""The status by which the activator has Envoy send a request that it held to a replica.

A header would do, too, but Envoy would look for it in every answer."""

BODY_LIMIT_BYTES: Final = 32 * 1024 * 1024
LONGEST_STREAM: Final = "3900s"
"""Longer than the longest hold the API allows (3600 s), so that Envoy never ends a hold by itself."""

BOOTSTRAP_FILE: Final = "bootstrap.json"
CERTIFICATE_FILE: Final = "certificate.json"
BACKUP_FILE: Final = "told.json"
SOCKET_FILE: Final = "discovery.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Directory of the files and the ports of one gateway pod."""

    directory: str
    listen_port: int
    admin_port: int
    activator_port: int
    engine_port: int = names.ENGINE_PORT
    resume_port: int = 9111
    """On loopback: where the activator sends streams on that it has opened already."""
    health_port: int = 9112
    """Where it is asked whether this pod takes callers."""
    tls_directory: str = ""
    """Where the certificate for callers is mounted; empty: callers are served without encryption."""
    trusted_hops: int = 0
    """How many proxies in front tell the truth about the caller's address."""
    filter_file: str = "/usr/local/lib/tertium/filter.so"
    """Tertium's own filter."""
    api_keys: bool = False
    """Whether callers need an API key."""

    def path(self, file: str) -> str:
        """Full path of one of the files."""
        return f"{self.directory}/{file}"


def address(host: str, port: int) -> Resource:
    """An Envoy socket address."""
    return {"socket_address": {"address": host, "port_value": port}}


def endpoint(host: str, port: int) -> Resource:
    """An Envoy load-balancing endpoint."""
    return {"endpoint": {"address": address(host, port)}}


def message(kind: type[M], resource: Resource) -> M:
    """Return the message that a resource describes. Raises ParseError when it breaks Envoy's schema."""
    made = kind()
    ParseDict(resource, made)
    return made

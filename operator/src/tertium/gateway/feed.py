"""One kind of resource on one stream to Envoy: what it asked for, what it holds, and what it was sent last.

The state of Envoy's incremental discovery protocol for the side that answers. No I/O, and no knowledge of
what the resources say. One response is under way at a time; what changes meanwhile is in the next one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import Final

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.message import Message

_EVERYTHING: Final = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A resource as it is sent. The version is made from the content, so it outlives this process."""

    version: str
    body: Packed

    @classmethod
    def of(cls, resource: Message) -> Offer:
        """Pack a resource."""
        body = Packed()
        body.Pack(resource, deterministic=True)
        return cls(version=hashlib.sha256(body.value).hexdigest()[:16], body=body)


@dataclass(slots=True)
class Feed:
    """The state of one kind of resource on one stream."""

    kind: str
    held: dict[str, str] = field(default_factory=dict)
    """Versions that Envoy has confirmed, by name."""
    sent: dict[str, str] | None = None
    """Versions in the response under way; a name that was withdrawn has an empty one."""
    refused: dict[str, str] = field(default_factory=dict)
    """Versions that Envoy did not take. They are not sent again before they are forgotten here."""
    gained: int = 0
    """How often Envoy has confirmed one that it did not hold before."""
    subscribed: bool = False
    brought: frozenset[str] = frozenset()
    """What Envoy held when it began to ask."""
    _names: set[str] = field(default_factory=set)
    _count: int = 0

    def take(self, request: DeltaDiscoveryRequest) -> str:
        """Note what Envoy says; return why it did not take the response under way, or an empty text."""
        if not self.subscribed:
            self.subscribed = True
            self.held = dict(request.initial_resource_versions)
            self.brought = frozenset(self.held)
            self._names = set(request.resource_names_subscribe) or {_EVERYTHING}
        else:
            for name in request.resource_names_subscribe:
                self._names.add(name)
                self.held.pop(name, None)  # asking again for what one holds is asking for it to be sent again
        for name in request.resource_names_unsubscribe:
            self._names.discard(name)
            self.held.pop(name, None)
        if self.sent is None or request.response_nonce != self._nonce:
            return ""
        sent, self.sent = self.sent, None
        if request.HasField("error_detail"):
            self.refused |= sent
            return str(request.error_detail.message) or "no reason given"
        for name, version in sent.items():
            if not version:
                self.held.pop(name, None)
            elif self._wants(name):
                self.gained += name not in self.held
                self.held[name] = version
        return ""

    def due(
        self, offers: Mapping[str, Offer], *, keep: Callable[[], Container[str]] = tuple
    ) -> DeltaDiscoveryResponse | None:
        """Return what Envoy lacks of these, or None; what is in `keep` is not withdrawn yet."""
        if not self.subscribed or self.sent is not None:
            return None
        changed = {
            name: offers[name].version
            for name in (offers if _EVERYTHING in self._names else self._names & offers.keys())
            if self.held.get(name) != offers[name].version and self.refused.get(name) != offers[name].version
        }
        removed = [name for name in self.held if name not in offers and self.refused.get(name) != ""]
        if removed:
            kept = keep()
            removed = [name for name in removed if name not in kept]
        # Who holds nothing and wants everything waits for an answer, and be it that there is nothing.
        awaited = not self.brought and self._count == 0 and _EVERYTHING in self._names
        if not changed and not removed and not awaited:
            return None
        self._count += 1
        self.sent = {**changed, **dict.fromkeys(removed, "")}
        response = DeltaDiscoveryResponse(type_url=self.kind, nonce=self._nonce)
        for name, version in changed.items():
            response.resources.add(name=name, version=version).resource.CopyFrom(offers[name].body)
        response.removed_resources.extend(removed)
        return response

    @property
    def withdrawing(self) -> frozenset[str]:
        """What Envoy may have lost by now."""
        return frozenset(name for name, version in (self.sent or {}).items() if not version)

    @property
    def _nonce(self) -> str:
        return str(self._count)

    def _wants(self, name: str) -> bool:
        return _EVERYTHING in self._names or name in self._names

"""The API keys and how many gateway pods share their limits: followed, and told to Envoy when they change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig

from tertium.api.meta import Manifest, ObjectKey
from tertium.core.api_keys import ApiKey, by_digest, parse_api_key
from tertium.kube.cluster import API_KEY, POD, Cluster
from tertium.render.envoy.keys import (
    LimiterSizes,
    Slots,
    assign_slots,
    build_keys,
    build_limiters,
    limiter_sizes,
)

_PUBLISH_SECONDS: Final = 0.2

_log = logging.getLogger(__name__)

Publish: TypeAlias = Callable[[TypedExtensionConfig, TypedExtensionConfig], None]
"""Takes the filter that limits concurrency and the filter that knows the keys."""


class KeyBook:
    """Every API key as last seen. Envoy does not listen before it has been told all of them once."""

    def __init__(self, *, home: str, gateway_labels: str, publish: Publish) -> None:
        self._home = home
        self._gateway_labels = gateway_labels
        self._publish_to_envoy = publish
        self._keys: dict[ObjectKey, ApiKey] = {}
        self._peers: set[ObjectKey] = set()
        self._synced = False
        self._slots: Slots = {}
        self._sizes: LimiterSizes = {}
        self._limiters: TypedExtensionConfig | None = None
        self._copies: frozenset[ObjectKey] = frozenset()
        self._published_at = float("-inf")
        self._publishing: asyncio.TimerHandle | None = None

    @property
    def publishing(self) -> bool:
        """Whether a change is about to be told to Envoy."""
        return self._publishing is not None

    def find(self, name: str) -> ApiKey | None:
        """The key whose `namespace/name` Envoy has put into a request."""
        namespace, _, rest = name.partition("/")
        return self._keys.get(ObjectKey(namespace, rest))

    async def follow_keys(self, cluster: Cluster) -> None:
        """Follow all API keys, for ever."""
        listed: set[ObjectKey] = set()
        async for event in cluster.watch(API_KEY):
            if event.object is None:
                for gone in self._keys.keys() - listed:
                    del self._keys[gone]
                listed, self._synced = set(), True
                self._publish_soon()
                continue
            name = ObjectKey.of(event.object)
            if event.type == "LISTED":
                listed.add(name)
            if self._take(name, None if event.type == "DELETED" else event.object) and self._synced:
                self._publish_soon()

    async def follow_peers(self, cluster: Cluster) -> None:
        """Follow the gateway pods that are ready, for ever: they share the limits of each key."""
        listed: set[ObjectKey] = set()
        async for event in cluster.watch(POD, labels=self._gateway_labels):
            before = frozenset(self._peers)
            if event.object is None:
                self._peers &= listed
                listed = set()
            else:
                name = ObjectKey.of(event.object)
                if event.type == "LISTED":
                    listed.add(name)
                ready = event.type != "DELETED" and name.namespace == self._home and _serves(event.object)
                (self._peers.add if ready else self._peers.discard)(name)
            if self._peers != before and self._synced:
                self._publish_soon()

    def close(self) -> None:
        """Publish nothing any more."""
        if self._publishing is not None:
            self._publishing.cancel()

    def _take(self, name: ObjectKey, manifest: Manifest | None) -> bool:
        """Take note of a key, or that it is gone; return whether anything changed."""
        before = self._keys.get(name)
        parsed = None if manifest is None else parse_api_key(manifest, home=self._home)
        if not isinstance(parsed, ApiKey):
            self._keys.pop(name, None)
            if parsed is not None:
                _log.warning("API key skipped", extra={"key": str(name), "why": parsed})
            return before is not None
        if parsed == before:
            return False
        self._keys[name] = parsed
        if parsed.foreign:
            entries = ", ".join(parsed.foreign)
            why = (
                f"spec.allow names {entries}; only a key of namespace {self._home} may name another namespace"
            )
            _log.warning("API key allows less than it says", extra={"key": str(name), "why": why})
        return True

    def _publish_soon(self) -> None:
        """Publish at once, or with what else comes within a fifth of a second of the last time."""
        if self._publishing is None:
            loop = asyncio.get_running_loop()
            delay = max(0.0, self._published_at + _PUBLISH_SECONDS - loop.time())
            self._publishing = loop.call_later(delay, self._publish)

    def _publish(self) -> None:
        self._publishing = None
        self._published_at = asyncio.get_running_loop().time()
        counting: Mapping[str, ApiKey] = by_digest(self._keys.values())
        copies = frozenset(self._keys.keys() - {key.name for key in counting.values()})
        for name in copies - self._copies:
            _log.warning("API key does not count: an older one has its hash", extra={"key": str(name)})
        self._copies = copies
        gateways = max(len(self._peers), 1)
        self._slots = assign_slots(counting.values(), gateways, self._slots)
        sizes = limiter_sizes(self._slots, self._sizes)
        if self._limiters is None or sizes != self._sizes:
            self._sizes, self._limiters = sizes, build_limiters(sizes)
        self._publish_to_envoy(self._limiters, build_keys(counting, gateways, self._slots))


def _serves(pod: Manifest) -> bool:
    if "deletionTimestamp" in pod["metadata"]:
        return False
    conditions = pod.get("status", {}).get("conditions", ())
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)

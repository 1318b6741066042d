"""What Envoy is to know: the wanted resources, and which of them may be sent now.

Level-triggered: `publish` notes the whole wanted state, and whatever Envoy holds, what it lacks follows from
the comparison. Two rules keep a route from leading to a cluster that is not there:

- A route is offered once Envoy has confirmed the endpoints of its cluster, for which it needs the cluster.
- A cluster is withdrawn once Envoy has confirmed routes that do not lead to it, and a minute later: a request
  goes by the routes that were there when its headers came, however long its body takes. In that minute the
  cluster leads to the activator, which says that the deployment is gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from tertium.api.meta import ObjectKey
from tertium.core.routing import RoutingTable, Target
from tertium.gateway.backup import Told, load, store
from tertium.gateway.feed import Feed, Offer
from tertium.render.envoy.clusters import build_cluster
from tertium.render.envoy.endpoints import build_endpoints
from tertium.render.envoy.layout import BACKUP_FILE, ROUTES, TYPES, Layout
from tertium.render.envoy.routes import build_routes

CLUSTERS: Final = f"{TYPES}.config.cluster.v3.Cluster"
EXTENSIONS: Final = f"{TYPES}.config.core.v3.TypedExtensionConfig"
ENDPOINTS: Final = f"{TYPES}.config.endpoint.v3.ClusterLoadAssignment"
ROUTING: Final = f"{TYPES}.config.route.v3.RouteConfiguration"
Routes: TypeAlias = Mapping[str, Target]
LINGER_SECONDS: Final = 60.0
_STORE_SECONDS: Final = 1.0
_REST_SECONDS: Final = 5.0
"""What Envoy refused is offered again after so long."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Stream:
    """One connection of Envoy's, from its first request until it ends."""

    feeds: dict[str, Feed] = field(
        default_factory=lambda: {kind: Feed(kind) for kind in (CLUSTERS, ENDPOINTS, ROUTING, EXTENSIONS)}
    )
    stirred: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when there may be something to send."""
    offered: tuple[object, Offer] | None = None
    """The routes that were offered last, and what they were made for."""
    _routes: dict[str, Routes] = field(default_factory=dict)
    """What the routes lead to that were offered, by version."""

    @property
    def routed(self) -> Routes | None:
        """The routes that Envoy has confirmed; None when it has none, or those of another process."""
        return self._routes.get(self.feeds[ROUTING].held.get(ROUTES, ""))

    def in_use(self) -> Container[str]:
        """The clusters that routes lead to which Envoy has, or may have by now."""
        feed = self.feeds[ROUTING]
        versions = [*feed.held.values(), *(feed.sent or {}).values()]
        if any(version not in self._routes for version in versions):
            return self.feeds[CLUSTERS].held
        return {str(target.key) for version in versions for target in self._routes[version].values()}

    def note_routes(self, version: str, routes: Routes) -> None:
        """Remember what the routes of a version lead to, for as long as Envoy may have them."""
        feed = self.feeds[ROUTING]
        current = {version, *feed.held.values(), *(feed.sent or {}).values()}
        self._routes = {old: table for old, table in self._routes.items() if old in current}
        self._routes[version] = routes


class Publisher:
    """The wanted resources of one Envoy. It is their only source."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._backup = Path(layout.path(BACKUP_FILE))
        self._storing: asyncio.TimerHandle | None = None
        self._restored = False
        self._table: RoutingTable | None = None
        self._targets: Routes | None = None
        self._revision = 0
        self._clusters: dict[str, Offer] = {}
        self._endpoints: dict[str, Offer] = {}
        self._addresses: dict[ObjectKey, tuple[str, ...]] = {}
        self._leaving: dict[ObjectKey, asyncio.TimerHandle] = {}
        self._extensions: dict[str, Offer] = {}
        self._routes: tuple[Routes, Offer] | None = None
        self._stream: Stream | None = None
        self._confirmed = asyncio.Condition()

    def publish(self, table: RoutingTable, addresses: Mapping[ObjectKey, tuple[str, ...]]) -> None:
        """Want this table, and these addresses of the deployments that are new or have changed."""
        loop = asyncio.get_running_loop()
        if table is not self._table:
            self._table, self._targets, self._restored = table, table.targets(), False
            self._revision += 1
            for key in self._addresses.keys() - table.models.keys() - self._leaving.keys():
                self._leaving[key] = loop.call_later(LINGER_SECONDS, self._withdraw, key)
                self._put_endpoints(key, ())
        for key, listed in addresses.items():
            if key in table.models:
                if key in self._leaving:
                    self._leaving.pop(key).cancel()
                self._put_cluster(key, table.models[key].prefix_characters)
                self._put_endpoints(key, listed)
        if self._storing is None:
            self._storing = loop.call_later(_STORE_SECONDS, self._store)
        self._stir()

    def restore(self) -> None:
        """Until the deployments are known, tell an Envoy that has nothing what was told last in this pod."""
        told = load(self._backup)
        if told is None or self._targets is not None:
            return
        self._targets, self._restored = told.targets, True
        for target in told.targets.values():
            self._put_cluster(target.key, target.prefix_characters)
            self._put_endpoints(target.key, told.addresses.get(target.key, ()))

    def close(self) -> None:
        """Stop what is scheduled."""
        for timer in (self._storing, *self._leaving.values()):
            if timer is not None:
                timer.cancel()

    def _store(self) -> None:
        self._storing = None
        if self._targets is not None:
            store(Told(targets=self._targets, addresses=self._addresses), self._backup)

    def _put_cluster(self, key: ObjectKey, prefix_characters: int) -> None:
        self._clusters[str(key)] = Offer.of(build_cluster(key, by_prefix=prefix_characters > 0))

    def _put_endpoints(self, key: ObjectKey, addresses: tuple[str, ...]) -> None:
        if self._addresses.get(key) != addresses:
            self._addresses[key] = addresses
            self._endpoints[str(key)] = Offer.of(build_endpoints(key, addresses, self._layout))

    def _withdraw(self, key: ObjectKey) -> None:
        del self._leaving[key], self._addresses[key]
        del self._clusters[str(key)], self._endpoints[str(key)]
        self._stir()

    def _stir(self) -> None:
        if self._stream is not None:
            self._stream.stirred.set()

    def publish_extensions(self, *extensions: TypedExtensionConfig) -> None:
        """Want these filters, whose places are in the listener."""
        self._extensions = {extension.name: Offer.of(extension) for extension in extensions}
        self._stir()

    def connect(self) -> Stream:
        """Begin a stream; the one before it, of an Envoy that has restarted, counts no longer."""
        self._stream = Stream()
        return self._stream

    def disconnect(self, stream: Stream) -> None:
        """End a stream."""
        if self._stream is stream:
            self._stream = None

    async def take(self, stream: Stream, request: DeltaDiscoveryRequest) -> None:
        """Note what Envoy says on a stream."""
        feed = stream.feeds.get(request.type_url)
        if feed is None:
            _log.warning("Envoy asks for what there is not", extra={"kind": request.type_url})
            return
        if refusal := feed.take(request):
            _log.error("not taken by Envoy", extra={"kind": feed.kind, "why": refusal})
            asyncio.get_running_loop().call_later(_REST_SECONDS, _forgive, stream)
        stream.stirred.set()
        async with self._confirmed:
            self._confirmed.notify_all()

    def due(self, stream: Stream) -> Iterator[DeltaDiscoveryResponse]:
        """Return what is to be sent now. Before the deployments are known, Envoy keeps what it has."""
        extensions = stream.feeds[EXTENSIONS]
        filters = extensions.due(self._extensions, keep=lambda: extensions.held)
        if filters is not None:
            yield filters
        clusters, endpoints, routing = (stream.feeds[kind] for kind in (CLUSTERS, ENDPOINTS, ROUTING))
        if self._targets is None or (self._restored and clusters.brought):
            return
        responses = [
            clusters.due(self._clusters, keep=stream.in_use),
            endpoints.due(self._endpoints, keep=lambda: endpoints.held),  # they go with their cluster
        ]
        # After a restart of ours, Envoy tells one kind after the other what it holds. After a restart of its
        # own it listens with the first routes it gets, so these must be all.
        told_all = clusters.subscribed and (endpoints.subscribed or not clusters.held)
        has_all = routing.held or (clusters.sent is None and endpoints.sent is None)
        if told_all and has_all:
            responses.append(routing.due({ROUTES: self._offer_routes(stream, self._targets)}))
        yield from (response for response in responses if response is not None)

    async def has_endpoints(self, key: ObjectKey, *, limit_seconds: float) -> bool:
        """Wait until Envoy has confirmed the endpoints that are wanted, at most `limit_seconds`."""
        return await self._until(lambda stream: self._taken(stream, key), limit_seconds)

    async def has_route(self, name: str, *, limit_seconds: float) -> bool:
        """Wait until Envoy has confirmed a route for this name, at most `limit_seconds`."""
        return await self._until(
            lambda stream: (routed := stream.routed) is not None and name in routed, limit_seconds
        )

    async def _until(self, condition: Callable[[Stream], bool], limit_seconds: float) -> bool:
        try:
            async with asyncio.timeout(limit_seconds), self._confirmed:
                await self._confirmed.wait_for(lambda: self._stream is not None and condition(self._stream))
        except TimeoutError:
            return False
        return True

    @property
    def connected(self) -> bool:
        """Whether Envoy is connected."""
        return self._stream is not None

    @property
    def configured(self) -> bool:
        """Whether Envoy has taken routes of this process."""
        return self._stream is not None and self._stream.routed is not None

    @property
    def settled(self) -> bool:
        """Whether Envoy has all that is wanted."""
        stream = self._stream
        return (
            stream is not None
            and (routed := stream.routed) is not None
            and routed == self._targets
            and all(self._taken(stream, key) for key in self._addresses)
            and all(
                stream.feeds[EXTENSIONS].held.get(name) == offer.version
                for name, offer in self._extensions.items()
            )
        )

    def _taken(self, stream: Stream, key: ObjectKey) -> bool:
        offer = self._endpoints.get(str(key))
        return offer is not None and stream.feeds[ENDPOINTS].held.get(str(key)) == offer.version

    def _offer_routes(self, stream: Stream, wanted: Routes) -> Offer:
        """Routes to those whose clusters Envoy has, also while it asks for the endpoints of one again."""
        clusters, endpoints, routing = (stream.feeds[kind] for kind in (CLUSTERS, ENDPOINTS, ROUTING))
        made_for = (
            *(self._revision, clusters.gained, clusters.withdrawing, endpoints.gained),
            routing.held.get(ROUTES),
        )
        if stream.offered is not None and stream.offered[0] == made_for:
            return stream.offered[1]  # most often only endpoints have changed
        if stream.routed is None:  # there may be routes of the process before this one
            known = endpoints.brought & clusters.held.keys()
        else:
            known = frozenset(str(target.key) for target in stream.routed.values())
        there = known | (clusters.held.keys() & endpoints.held.keys() - clusters.withdrawing)
        ready = {name: to for name, to in wanted.items() if str(to.key) in there}
        if self._routes is None or self._routes[0] != ready:
            self._routes = (ready, Offer.of(build_routes(ready)))
        offer = self._routes[1]
        stream.offered = (made_for, offer)
        stream.note_routes(offer.version, ready)
        return offer


def _forgive(stream: Stream) -> None:
    for feed in stream.feeds.values():
        feed.refused.clear()
    stream.stirred.set()

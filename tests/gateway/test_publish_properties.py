"""In whatever order things happen, no route of Envoy leads to a cluster it lacks, and all settles."""

from __future__ import annotations

import asyncio
from typing import Any

from envoy.config.route.v3.route_components_pb2 import Route
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from hypothesis import given, settings
from hypothesis import strategies as st

from tertium.gateway import publish
from tertium.gateway.publish import CLUSTERS, ENDPOINTS, ROUTING, Publisher
from tertium.render.envoy.layout import ROUTES
from tests.gateway.test_publish import LAYOUT, table_of

NAMES = ("a", "b", "c")
ADDRESSES = ((), ("10.0.0.1",), ("10.0.0.1", "10.0.0.2"))

STEPS = st.one_of(
    st.tuples(st.just("want"), st.sets(st.sampled_from(NAMES)), st.sampled_from(ADDRESSES)),
    st.tuples(st.just("take"), st.sampled_from([CLUSTERS, ENDPOINTS, ROUTING])),
    st.tuples(st.just("refuse"), st.sampled_from([CLUSTERS, ENDPOINTS, ROUTING])),
    st.tuples(st.just("time passes")),
    st.tuples(st.just("all is taken")),
    st.tuples(st.just("activator restarts")),
    st.tuples(st.just("envoy restarts")),
    st.tuples(st.just("endpoints again"), st.sampled_from(NAMES)),
)


class Envoy:
    """What Envoy really has, kept apart from what the publisher believes."""

    def __init__(self) -> None:
        self.has: dict[str, dict[str, Any]] = {CLUSTERS: {}, ENDPOINTS: {}, ROUTING: {}}
        self.versions: dict[str, dict[str, str]] = {CLUSTERS: {}, ENDPOINTS: {}, ROUTING: {}}
        self.waiting: dict[str, DeltaDiscoveryResponse] = {}
        self.routes_asked = False
        self.asked: set[str] = set()
        """Whose endpoints it has asked for; others' are ignored."""

    async def connect(self, publisher: Publisher) -> None:
        self.publisher, self.stream = publisher, publisher.connect()
        self.waiting.clear()
        await self._say(CLUSTERS, initial_resource_versions=self.versions[CLUSTERS])
        self.receive()
        if self.has[CLUSTERS]:
            await self._say(
                ENDPOINTS,
                resource_names_subscribe=list(self.has[CLUSTERS]),
                initial_resource_versions=self.versions[ENDPOINTS],
            )
        self.receive()
        if self.routes_asked:
            await self._ask_for_routes()

    async def take_all(self) -> None:
        for _ in range(6):
            for kind in (CLUSTERS, ENDPOINTS, ROUTING):
                await self.take(kind)
        if not self.routes_asked:
            await self._ask_for_routes()
            await self.take(ROUTING)

    async def _ask_for_routes(self) -> None:
        self.routes_asked = True
        await self._say(
            ROUTING, resource_names_subscribe=[ROUTES], initial_resource_versions=self.versions[ROUTING]
        )

    async def _say(self, kind: str, **fields: Any) -> None:
        await self.publisher.take(self.stream, DeltaDiscoveryRequest(type_url=kind, **fields))

    def receive(self) -> None:
        for response in self.publisher.due(self.stream):
            assert response.type_url not in self.waiting, "one response of a kind at a time"
            self.waiting[response.type_url] = response

    async def take(self, kind: str) -> None:
        self.receive()
        response = self.waiting.pop(kind, None)
        if response is None:
            return
        for item in response.resources:
            if kind == ENDPOINTS and item.name not in self.asked:
                continue
            self.has[kind][item.name] = item.resource
            self.versions[kind][item.name] = item.version
        for name in response.removed_resources:
            self.has[kind].pop(name, None)
            self.versions[kind].pop(name, None)
        self.check()
        await self._say(kind, response_nonce=response.nonce)
        if kind == CLUSTERS:
            await self._follow_clusters()
            if not self.routes_asked and self.has[CLUSTERS].keys() <= self.has[ENDPOINTS].keys():
                await self._ask_for_routes()

    async def _follow_clusters(self) -> None:
        new = [name for name in self.has[CLUSTERS] if name not in self.asked]
        gone = [name for name in self.asked if name not in self.has[CLUSTERS]]
        self.asked = set(self.has[CLUSTERS])
        for name in gone:
            self.has[ENDPOINTS].pop(name, None)
            self.versions[ENDPOINTS].pop(name, None)
        if new or gone:
            await self._say(ENDPOINTS, resource_names_subscribe=new, resource_names_unsubscribe=gone)

    async def refuse(self, kind: str) -> None:
        self.receive()
        response = self.waiting.pop(kind, None)
        if response is not None:
            await self._say(kind, response_nonce=response.nonce, error_detail={"message": "no"})

    async def ask_again(self, name: str) -> None:
        if f"team/{name}" in self.has[CLUSTERS]:
            await self._say(ENDPOINTS, resource_names_subscribe=[f"team/{name}"])

    def check(self) -> None:
        """A route leads to a cluster that is there and has been told where its replicas are."""
        for cluster in self.routes().values():
            assert cluster in self.has[CLUSTERS]
            assert cluster in self.has[ENDPOINTS]

    def routes(self) -> dict[str, str]:
        found = {}
        for packed in self.has[ROUTING].values():
            config = RouteConfiguration()
            packed.Unpack(config)
            matcher = config.virtual_hosts[0].matcher
            for name, entry in matcher.matcher_tree.exact_match_map.map.items():
                route = Route()
                entry.action.typed_config.Unpack(route)
                found[name] = route.route.cluster
        return found


async def play(steps: list[tuple[Any, ...]]) -> None:
    publisher, envoy = Publisher(LAYOUT), Envoy()
    wanted, addresses = table_of(), {}
    publisher.publish(wanted, {})
    await envoy.connect(publisher)
    for step in steps:
        before = envoy, envoy.routes().keys() & wanted.routes.keys()
        match step:
            case ("want", names, listed):
                wanted = table_of(*sorted(names))
                addresses = dict.fromkeys(wanted.models, listed)
                publisher.publish(wanted, addresses)
            case ("take", kind):
                await envoy.take(kind)
            case ("refuse", kind):
                await envoy.refuse(kind)
            case ("time passes",):
                for _ in range(3):
                    await asyncio.sleep(0)
            case ("all is taken",):
                await envoy.take_all()
            case ("activator restarts",):
                publisher.close()
                publisher = Publisher(LAYOUT)
                await envoy.connect(publisher)
                publisher.publish(wanted, addresses)
            case ("envoy restarts",):
                envoy = Envoy()
                await envoy.connect(publisher)
            case ("endpoints again", name):
                await envoy.ask_again(name)
        envoy.check()
        if before[0] is envoy:
            assert before[1] & wanted.routes.keys() <= envoy.routes().keys(), "no gap"
    publish._forgive(envoy.stream)
    for _ in range(3):
        await asyncio.sleep(0)
        await envoy.take_all()
    publisher.close()
    assert publisher.settled
    assert envoy.routes() == {name: str(key) for name, key in wanted.routes.items()}
    assert envoy.has[CLUSTERS].keys() == {str(key) for key in wanted.models}


@settings(max_examples=200, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_every_history_is_safe_and_ends_well(steps: list[tuple[Any, ...]]) -> None:
    linger, rest = publish.LINGER_SECONDS, publish._REST_SECONDS
    publish.LINGER_SECONDS, publish._REST_SECONDS = 0.0, 0.0  # type: ignore[misc]
    try:
        asyncio.run(play(steps))
    finally:
        publish.LINGER_SECONDS, publish._REST_SECONDS = linger, rest  # type: ignore[misc]

"""What is sent to Envoy and when: an Envoy that confirms one response at a time, or refuses it."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from tertium.api.meta import ObjectKey
from tertium.core.routing import Model, RoutingTable, build_table, parse_model
from tertium.gateway.publish import CLUSTERS, ENDPOINTS, LINGER_SECONDS, ROUTING, Publisher
from tertium.render.envoy.layout import BACKUP_FILE, ROUTES, Layout
from tests.gateway.parts import a_deployment

A, B = (ObjectKey("team", name) for name in "ab")
UP, MORE = ("10.0.0.1",), ("10.0.0.1", "10.0.0.2")
LAYOUT = Layout(directory="/etc/envoy", listen_port=1, admin_port=2, activator_port=3)
KINDS = {CLUSTERS: "clusters", ENDPOINTS: "endpoints", ROUTING: "routes"}


def table_of(*names: str) -> RoutingTable:
    parsed = [parse_model(a_deployment(name)) for name in names]
    return build_table(model for model in parsed if isinstance(model, Model))


class Envoy:
    """Subscribes as Envoy does; `steps` says what each response brought and took away."""

    def __init__(self, publisher: Publisher, holds: dict[str, dict[str, str]] | None = None) -> None:
        self.publisher = publisher
        self.stream = publisher.connect()
        self.steps: list[str] = []
        self.refuses: set[str] = set()
        self._asked: set[str] = set()
        self._holds = holds or {}

    async def start(self) -> list[str]:
        """Ask for all kinds; one that was connected before says what it holds, a new one asks in steps."""
        held = self._holds
        self._asked = set(held.get(ENDPOINTS, ()))
        await self._say(CLUSTERS, initial_resource_versions=held.get(CLUSTERS, {}))
        steps = [] if held else await self.confirm_all()
        if held:
            await self._say(
                ENDPOINTS, resource_names_subscribe=self._asked, initial_resource_versions=held[ENDPOINTS]
            )
        await self._say(
            ROUTING, resource_names_subscribe=[ROUTES], initial_resource_versions=held.get(ROUTING, {})
        )
        return steps + await self.confirm_all()

    async def confirm_all(self) -> list[str]:
        """Take responses until there are none; return the steps since the last call."""
        while due := list(self.publisher.due(self.stream)):
            for response in due:
                await self._answer(response)
        steps, self.steps = self.steps, []
        return steps

    async def _answer(self, response: DeltaDiscoveryResponse) -> None:
        kind = KINDS[response.type_url]
        changed = [f"+{item.name}" for item in response.resources]
        self.steps.append(" ".join([kind, *sorted(changed), *(f"-{x}" for x in response.removed_resources)]))
        refusal = {"error_detail": {"message": "no"}} if kind in self.refuses else {}
        await self._say(response.type_url, response_nonce=response.nonce, **refusal)
        if kind == "clusters" and not refusal:
            new = [item.name for item in response.resources if item.name not in self._asked]
            gone = [name for name in response.removed_resources if name in self._asked]
            self._asked = (self._asked | set(new)) - set(gone)
            if new or gone:
                await self._say(ENDPOINTS, resource_names_subscribe=new, resource_names_unsubscribe=gone)

    async def _say(self, kind: str, **fields: Any) -> None:
        await self.publisher.take(self.stream, DeltaDiscoveryRequest(type_url=kind, **fields))

    @property
    def held(self) -> dict[str, dict[str, str]]:
        """What it holds."""
        return {kind: dict(self.stream.feeds[kind].held) for kind in KINDS}

    @property
    def names(self) -> set[str]:
        """The names it has routes for."""
        return set(self.stream.routed or {})


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    return Publisher(replace(LAYOUT, directory=str(tmp_path)))


async def test_before_anything_is_known_nothing_is_sent(publisher: Publisher) -> None:
    envoy = Envoy(publisher)
    assert await envoy.start() == []
    assert (publisher.configured, publisher.settled) == (False, False)


async def test_the_first_routes_of_an_envoy_are_all_though_it_asks_before_it_confirms(
    publisher: Publisher,
) -> None:
    publisher.publish(table_of("a"), {A: UP})
    envoy = Envoy(publisher)
    await envoy._say(CLUSTERS)
    (clusters,) = publisher.due(envoy.stream)
    await envoy._answer(clusters)
    (endpoints,) = publisher.due(envoy.stream)
    await envoy._say(ROUTING, resource_names_subscribe=[ROUTES])
    assert list(publisher.due(envoy.stream)) == []
    await envoy._answer(endpoints)
    assert (await envoy.confirm_all())[-1] == "routes +models"
    assert envoy.names == {"a", "team/a"}


async def test_an_empty_cluster_is_told_so_that_envoy_listens(publisher: Publisher) -> None:
    publisher.publish(table_of(), {})
    envoy = Envoy(publisher)
    assert await envoy.start() == ["clusters", "routes +models"]
    assert (publisher.configured, publisher.settled) == (True, True)


async def test_a_route_is_offered_when_its_endpoints_are_confirmed(publisher: Publisher) -> None:
    publisher.publish(table_of(), {})
    envoy = Envoy(publisher)
    await envoy.start()
    publisher.publish(table_of("a"), {A: ()})
    clusters = list(publisher.due(envoy.stream))
    assert [KINDS[response.type_url] for response in clusters] == ["clusters"]
    assert list(publisher.due(envoy.stream)) == [], "one response of a kind at a time"
    await envoy._answer(clusters[0])
    endpoints = list(publisher.due(envoy.stream))
    assert [KINDS[response.type_url] for response in endpoints] == ["endpoints"]
    assert envoy.names == set()
    await envoy._answer(endpoints[0])
    assert await envoy.confirm_all() == ["clusters +team/a", "endpoints +team/a", "routes +models"]
    assert envoy.names == {"a", "team/a"}


@pytest.mark.looptime
async def test_a_cluster_is_withdrawn_a_minute_after_the_last_route_to_it(publisher: Publisher) -> None:
    publisher.publish(table_of("a", "b"), {A: UP, B: ()})
    envoy = Envoy(publisher)
    await envoy.start()
    publisher.publish(table_of("b"), {A: ()})
    assert await envoy.confirm_all() == ["endpoints +team/a", "routes +models"]
    await asyncio.sleep(LINGER_SECONDS - 1)
    assert await envoy.confirm_all() == []
    await asyncio.sleep(2)
    assert await envoy.confirm_all() == ["clusters -team/a"]
    assert envoy.held[ENDPOINTS].keys() == {"team/b"}


@pytest.mark.looptime
async def test_one_that_comes_back_within_the_minute_keeps_its_cluster(publisher: Publisher) -> None:
    publisher.publish(table_of("a"), {A: UP})
    envoy = Envoy(publisher)
    await envoy.start()
    publisher.publish(table_of(), {A: ()})
    await envoy.confirm_all()
    publisher.publish(table_of("a"), {A: UP})
    assert await envoy.confirm_all() == ["endpoints +team/a", "routes +models"]
    await asyncio.sleep(LINGER_SECONDS + 1)
    assert await envoy.confirm_all() == []
    assert publisher.settled


@pytest.mark.looptime
async def test_one_that_comes_and_goes_again_has_a_whole_minute(publisher: Publisher) -> None:
    publisher.publish(table_of("a"), {A: UP})
    envoy = Envoy(publisher)
    await envoy.start()
    publisher.publish(table_of(), {})
    await asyncio.sleep(LINGER_SECONDS - 1)
    publisher.publish(table_of("a"), {A: UP})
    publisher.publish(table_of(), {})
    await envoy.confirm_all()
    await asyncio.sleep(LINGER_SECONDS - 1)
    assert await envoy.confirm_all() == []
    await asyncio.sleep(2)
    assert await envoy.confirm_all() == ["clusters -team/a"]


@pytest.mark.looptime
async def test_a_cluster_that_routes_may_still_lead_to_stays_beyond_the_minute(publisher: Publisher) -> None:
    publisher.publish(table_of("a"), {A: UP})
    envoy = Envoy(publisher)
    await envoy.start()
    publisher.publish(table_of(), {})
    under_way = list(publisher.due(envoy.stream))
    assert [KINDS[response.type_url] for response in under_way] == ["endpoints", "routes"]
    await asyncio.sleep(LINGER_SECONDS + 1)
    assert list(publisher.due(envoy.stream)) == []
    for response in under_way:
        await envoy._answer(response)
    assert (await envoy.confirm_all())[-1] == "clusters -team/a"


async def test_of_two_changes_neither_waits_for_the_other(publisher: Publisher) -> None:
    publisher.publish(table_of("a"), {A: UP})
    envoy = Envoy(publisher)
    await envoy.start()
    publisher.publish(table_of("b"), {A: (), B: UP})
    assert await envoy.confirm_all() == [
        *("clusters +team/b", "endpoints +team/a", "routes +models"),
        *("endpoints +team/b", "routes +models"),
    ]
    assert (envoy.names, publisher.settled) == ({"b", "team/b"}, True)


async def test_a_change_of_endpoints_touches_one_resource(publisher: Publisher) -> None:
    publisher.publish(table_of("a", "b"), {A: UP, B: UP})
    envoy = Envoy(publisher)
    await envoy.start()
    publisher.publish(table_of("a", "b"), {A: MORE})
    assert await envoy.confirm_all() == ["endpoints +team/a"]
    publisher.publish(table_of("a", "b"), {A: MORE, B: UP})
    assert await envoy.confirm_all() == []


async def test_what_changes_while_a_response_is_under_way_is_sent_once_in_its_last_state(
    publisher: Publisher,
) -> None:
    publisher.publish(table_of("a"), {A: ()})
    envoy = Envoy(publisher)
    await envoy.start()
    publisher.publish(table_of("a"), {A: UP})
    under_way = list(publisher.due(envoy.stream))
    for addresses in (MORE, (), MORE):
        publisher.publish(table_of("a"), {A: addresses})
        assert list(publisher.due(envoy.stream)) == []
    assert not await publisher.has_endpoints(A, limit_seconds=0)
    await envoy._answer(under_way[0])
    assert not await publisher.has_endpoints(A, limit_seconds=0)
    assert await envoy.confirm_all() == ["endpoints +team/a", "endpoints +team/a"]
    assert await publisher.has_endpoints(A, limit_seconds=0)


async def test_a_restarted_publisher_sends_only_what_differs(publisher: Publisher) -> None:
    publisher.publish(table_of("a", "b"), {A: UP, B: UP})
    envoy = Envoy(publisher)
    await envoy.start()
    restarted = Publisher(LAYOUT)
    again = Envoy(restarted, holds=envoy.held)
    assert await again.start() == []
    assert not restarted.configured
    restarted.publish(table_of("b", "a"), {A: UP, B: MORE})
    assert await again.confirm_all() == ["endpoints +team/b"]
    assert (again.names, restarted.settled) == ({"a", "team/a", "b", "team/b"}, True)


async def test_a_restarted_publisher_keeps_clusters_until_it_knows_the_routes(publisher: Publisher) -> None:
    publisher.publish(table_of("a", "b"), {A: UP, B: UP})
    envoy = Envoy(publisher)
    await envoy.start()
    restarted = Publisher(LAYOUT)
    restarted.publish(table_of("b"), {B: UP})
    again = Envoy(restarted, holds=envoy.held)
    assert await again.start() == ["routes +models", "clusters -team/a"]


async def test_a_restarted_envoy_gets_everything(publisher: Publisher) -> None:
    publisher.publish(table_of("a"), {A: UP})
    first = Envoy(publisher)
    await first.start()
    second = Envoy(publisher)
    assert not publisher.configured
    publisher.disconnect(first.stream)
    assert await second.start() == ["clusters +team/a", "endpoints +team/a", "routes +models"]
    assert publisher.settled
    publisher.disconnect(second.stream)
    assert not publisher.configured


async def test_endpoints_that_are_asked_for_again_are_sent_again_and_the_route_stays(
    publisher: Publisher,
) -> None:
    publisher.publish(table_of("a"), {A: UP})
    envoy = Envoy(publisher)
    await envoy.start()
    await envoy._say(ENDPOINTS, resource_names_subscribe=["team/a"])
    assert await envoy.confirm_all() == ["endpoints +team/a"]
    assert envoy.names == {"a", "team/a"}


@pytest.mark.looptime
async def test_what_envoy_refuses_is_logged_and_offered_again_after_five_seconds(
    publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    publisher.publish(table_of("a"), {A: UP})
    envoy = Envoy(publisher)
    envoy.refuses = {"clusters"}
    assert await envoy.start() == ["clusters +team/a", "routes +models"]
    assert [(item.levelno, item.message, item.__dict__["why"]) for item in caplog.records] == [
        (logging.ERROR, "not taken by Envoy", "no")
    ]
    assert envoy.names == set()
    envoy.refuses = set()
    await asyncio.sleep(4.9)
    assert await envoy.confirm_all() == []
    await asyncio.sleep(0.2)
    assert await envoy.confirm_all() == ["clusters +team/a", "endpoints +team/a", "routes +models"]


async def test_a_kind_there_is_not_is_not_answered(
    publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    publisher.publish(table_of("a"), {A: UP})
    envoy = Envoy(publisher)
    await envoy._say("type.googleapis.com/envoy.config.listener.v3.Listener")
    assert [item.message for item in caplog.records] == ["Envoy asks for what there is not"]
    assert list(publisher.due(envoy.stream)) == []


@pytest.mark.looptime
async def test_without_the_api_server_an_envoy_that_has_nothing_gets_what_was_told_last(
    tmp_path: Path,
) -> None:
    layout = replace(LAYOUT, directory=str(tmp_path))
    first = Publisher(layout)
    first.publish(table_of("a", "b"), {A: UP, B: ()})
    await asyncio.sleep(2)
    first.close()
    second = Publisher(layout)
    second.restore()
    envoy = Envoy(second)
    assert await envoy.start() == [
        *("clusters +team/a +team/b", "endpoints +team/a +team/b"),
        "routes +models",
    ]
    second.publish(table_of("a"), {A: MORE})
    assert await envoy.confirm_all() == ["endpoints +team/a", "routes +models"]
    assert envoy.names == {"a", "team/a"}


@pytest.mark.looptime
async def test_an_envoy_that_has_something_keeps_it_until_the_deployments_are_known(tmp_path: Path) -> None:
    layout = replace(LAYOUT, directory=str(tmp_path))
    first = Publisher(layout)
    first.publish(table_of("a"), {A: UP})
    await asyncio.sleep(2)
    first.publish(table_of("a"), {A: MORE})
    first.close()
    envoy = Envoy(first)
    await envoy.start()
    second = Publisher(layout)
    second.restore()
    assert await Envoy(second, holds=envoy.held).start() == [], "what was kept is older"


@pytest.mark.parametrize("damage", [b"", b"{", b'{"targets": 1}', b"\xff"])
async def test_a_spoiled_backup_is_as_good_as_none(
    tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    layout = replace(LAYOUT, directory=str(tmp_path))
    (tmp_path / BACKUP_FILE).write_bytes(damage)
    publisher = Publisher(layout)
    publisher.restore()
    assert await Envoy(publisher).start() == []
    assert [item.message for item in caplog.records] == ["what Envoy was told cannot be read"]


@pytest.mark.looptime
async def test_a_backup_that_cannot_be_written_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publisher = Publisher(replace(LAYOUT, directory=str(tmp_path / "absent")))
    publisher.publish(table_of("a"), {A: UP})
    await asyncio.sleep(2)
    assert [item.message for item in caplog.records] == ["what Envoy was told is not kept"]

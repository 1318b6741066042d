"""Which files are written, in which order, and that nothing else is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tertium.api.meta import ObjectKey
from tertium.core.routing import Model, RoutingTable, build_table, parse_model
from tertium.gateway import publish
from tertium.gateway.publish import Publisher
from tertium.render.envoy.layout import Layout
from tests.gateway.parts import a_deployment

A, B, C = (ObjectKey("team", name) for name in "abc")
EDS_A, EDS_B = "eds/team_a.json", "eds/team_b.json"
UP = ("10.0.0.1",)


def table_of(*names: str) -> RoutingTable:
    parsed = [parse_model(a_deployment(name)) for name in names]
    return build_table(model for model in parsed if isinstance(model, Model))


class Recorded:
    """A publisher in a prepared directory, with the names of the files it writes."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self._layout = Layout(directory=str(directory), listen_port=1, admin_port=2, activator_port=3)
        publish.prepare(self._layout, "node")
        self.restart()
        self._written: list[str] = []
        replace = publish._replace

        def record(path: Path, text: str) -> None:
            self._written.append(str(path.relative_to(directory)))
            replace(path, text)

        monkeypatch.setattr(publish, "_replace", record)

    def restart(self) -> None:
        """Begin anew with the files that are there."""
        self.publisher = Publisher(self._layout, most_followed=2)

    def publish(
        self, table: RoutingTable, awake: dict[ObjectKey, tuple[str, ...]] | None = None
    ) -> list[str]:
        """Publish with these addresses of those that are awake; return what was written."""
        known = awake or {}
        self._written.clear()
        self.publisher.publish(table, lambda key: known.get(key, ()), known.__contains__)
        return list(self._written)

    def update(self, key: ObjectKey, addresses: tuple[str, ...]) -> tuple[bool, list[str]]:
        """Update one deployment; return whether that was enough, and what was written."""
        self._written.clear()
        return self.publisher.update(key, addresses), list(self._written)

    def cluster_types(self) -> dict[str, str]:
        """Whose endpoints are in a file of their own (EDS) and whose in the clusters file (STATIC)."""
        resources = json.loads((self.directory / "cds.json").read_text())["resources"]
        return {item["name"]: item["type"] for item in resources}


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    return Recorded(tmp_path, monkeypatch)


def test_a_sleeping_model_has_a_cluster_before_a_route_and_no_file(recorded: Recorded) -> None:
    assert recorded.publish(table_of("a")) == ["cds.json", "rds.json"]
    assert recorded.cluster_types() == {"team/a": "STATIC"}


def test_a_model_that_wakes_gets_its_file_before_its_cluster_follows_it(recorded: Recorded) -> None:
    recorded.publish(table_of("a"))
    assert recorded.publish(table_of("a"), {A: ()}) == [EDS_A, "cds.json"]
    assert recorded.cluster_types() == {"team/a": "EDS"}
    assert recorded.update(A, UP) == (True, [EDS_A])
    assert recorded.update(A, UP) == (True, [])


def test_a_model_that_sleeps_again_loses_its_file_last(recorded: Recorded) -> None:
    recorded.publish(table_of("a"), {A: UP})
    assert recorded.publish(table_of("a")) == ["cds.json"]
    assert recorded.cluster_types() == {"team/a": "STATIC"}
    assert not (recorded.directory / EDS_A).exists()


def test_nothing_leads_to_a_model_before_it_is_removed(recorded: Recorded) -> None:
    recorded.publish(table_of("a", "b"), {A: UP})
    assert recorded.publish(table_of("b")) == ["rds.json", "cds.json"]
    assert not (recorded.directory / EDS_A).exists()


def test_a_swap_keeps_both_clusters_until_the_routes_are_new(recorded: Recorded) -> None:
    recorded.publish(table_of("a"))
    assert recorded.publish(table_of("b")) == ["cds.json", "rds.json", "cds.json"]
    assert recorded.cluster_types() == {"team/b": "STATIC"}


def test_an_unchanged_state_writes_nothing(recorded: Recorded) -> None:
    recorded.publish(table_of("a", "b"), {A: UP})
    assert recorded.publish(table_of("a", "b"), {A: UP}) == []
    assert recorded.publisher.heal() == []


def test_an_empty_cluster_leaves_the_prepared_files_as_they_are(recorded: Recorded) -> None:
    assert recorded.publish(table_of()) == []


def test_beyond_the_limit_endpoints_are_in_the_clusters_file(recorded: Recorded) -> None:
    table = table_of("a", "b", "c")
    recorded.publish(table, {B: UP, C: UP})
    recorded.publish(table, {A: UP, B: UP, C: UP})
    assert recorded.cluster_types() == {"team/a": "STATIC", "team/b": "EDS", "team/c": "EDS"}
    assert recorded.update(A, UP) == (True, [])
    assert recorded.update(A, ("10.0.0.1", "10.0.0.2")) == (False, [])
    assert recorded.publish(table, {A: ("10.0.0.1", "10.0.0.2"), B: UP, C: UP}) == ["cds.json"]
    assert recorded.publisher.proof(A)[0] == "cluster_manager.cds.version_text"
    assert recorded.publisher.proof(B)[0] == "cluster.team/b.version_text"


def test_an_update_of_a_model_that_was_never_published_waits_for_its_cluster(recorded: Recorded) -> None:
    assert recorded.update(A, UP) == (True, [])


def test_a_restarted_publisher_leaves_right_files_alone_and_clears_stray_ones(recorded: Recorded) -> None:
    recorded.publish(table_of("a", "b"), {A: UP, B: UP})
    recorded.restart()
    assert recorded.publish(table_of("a"), {A: UP}) == ["cds.json", "rds.json"]
    recorded.publisher.heal()
    assert not (recorded.directory / EDS_B).exists()


@pytest.mark.parametrize("damage", ["{", None])
def test_damage_is_repaired(recorded: Recorded, damage: str | None) -> None:
    recorded.publish(table_of("a"), {A: UP})
    path = recorded.directory / EDS_A
    right = path.read_text()
    if damage is None:
        path.unlink()
    else:
        path.write_text(damage)
    assert recorded.publisher.heal() == [EDS_A]
    assert path.read_text() == right


def test_a_file_that_envoy_did_not_take_is_offered_again(recorded: Recorded) -> None:
    recorded.publish(table_of("a"), {A: UP})
    recorded._written.clear()
    recorded.publisher.offer_again(["cluster.team/a.version_text", "cluster_manager.cds.version_text"])
    assert recorded._written == [EDS_A, "cds.json"]


def test_a_directory_that_cannot_be_written_is_logged_and_tried_again(
    recorded: Recorded, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(publish, "_replace", full)
        recorded.publish(table_of("a"), {A: UP})
    assert [record.message for record in caplog.records] == ["file not written"] * 3
    assert sorted(recorded.publisher.heal()) == ["cds.json", EDS_A, "rds.json"]

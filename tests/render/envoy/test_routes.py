"""The parts of Envoy's resources that decide who gets a request; the rest is shown by the real Envoy."""

from __future__ import annotations

import json
from typing import Any

from tertium.api.meta import ObjectKey
from tertium.core.routing import Model, build_table, parse_model
from tertium.render.envoy.bootstrap import build_bootstrap
from tertium.render.envoy.clusters import build_clusters
from tertium.render.envoy.endpoints import build_endpoints
from tertium.render.envoy.layout import Layout, eds_file
from tertium.render.envoy.routes import build_routes

LAYOUT = Layout(directory="/etc/envoy", listen_port=8080, admin_port=9901, activator_port=9109)


def routes_of(*names: str) -> list[dict[str, Any]]:
    manifests = [
        {"metadata": {"name": name, "namespace": "team"}, "spec": {"model": {"source": "pvc://models/x"}}}
        for name in names
    ]
    parsed = [parse_model(manifest) for manifest in manifests]
    table = build_table(model for model in parsed if isinstance(model, Model))
    routes: list[dict[str, Any]] = build_routes(table)["virtual_hosts"][0]["routes"]
    return routes


def test_each_name_of_a_model_has_a_route_before_those_that_explain() -> None:
    routes = routes_of("a", "b")
    assert [route["name"] for route in routes] == [
        *("team/a", "team/b", "team/a", "team/b"),
        *("model_missing", "body_not_json", "model_unknown", "unrouted"),
    ]
    match = routes[0]["match"]
    assert match == {
        "prefix": "/v1/",
        "headers": [{"name": ":method", "string_match": {"exact": "POST"}}],
        "dynamic_metadata": [
            {"filter": "tertium", "path": [{"key": "model"}], "value": {"string_match": {"exact": "a"}}}
        ],
    }


def test_a_model_route_has_no_time_out_and_says_whom_it_is_for() -> None:
    route = routes_of("a")[0]
    assert route["route"]["timeout"] == "0s"
    assert route["request_headers_to_add"][0]["header"] == {"key": "x-tertium-deployment", "value": "team/a"}


def test_the_order_of_creation_changes_no_byte() -> None:
    assert json.dumps(routes_of("a", "b")) == json.dumps(routes_of("b", "a"))


def test_a_sleeping_model_has_only_the_activator() -> None:
    assignment = build_endpoints(ObjectKey("team", "a"), [], LAYOUT)
    assert [len(tier["lb_endpoints"]) for tier in assignment["endpoints"]] == [0, 1]
    assert assignment["cluster_name"] == "team/a"


def test_long_names_get_files_of_their_own() -> None:
    first, second = (ObjectKey("n" * 63, "x" * 252 + end) for end in "ab")
    assert eds_file(first) != eds_file(second)
    assert len(eds_file(first)) < 255
    assert eds_file(ObjectKey("a-b", "c")) != eds_file(ObjectKey("a", "b-c"))


def test_clusters_are_in_order_and_follow_a_file_or_hold_their_endpoints() -> None:
    a, b = ObjectKey("team", "a"), ObjectKey("team", "b")
    followed, inline = build_clusters({b: ("10.0.0.1",), a: None}, LAYOUT)
    assert (followed["name"], inline["name"]) == ("team/a", "team/b")
    source = followed["eds_cluster_config"]["eds_config"]["path_config_source"]
    assert source == {"path": "/etc/envoy/eds/team_a.json"}
    first, second = build_endpoints(b, ("10.0.0.1",), LAYOUT)["endpoints"]
    assert inline["load_assignment"]["endpoints"] == [first, second]


def test_the_admin_interface_is_on_loopback_only() -> None:
    bootstrap = build_bootstrap(LAYOUT, node="pod-1")
    assert bootstrap["admin"]["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 9901}
    assert bootstrap["node"]["id"] == "pod-1"

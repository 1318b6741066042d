"""The parts of Envoy's resources that decide who gets a request; the rest is shown by the real Envoy."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from google.protobuf.json_format import MessageToDict, ParseError

from tertium.api.meta import ObjectKey
from tertium.core.routing import Model, build_table, parse_model
from tertium.render.envoy.bootstrap import build_bootstrap
from tertium.render.envoy.clusters import build_cluster
from tertium.render.envoy.endpoints import build_endpoints
from tertium.render.envoy.layout import Layout, message
from tertium.render.envoy.routes import build_routes

LAYOUT = Layout(directory="/etc/envoy", listen_port=8080, admin_port=9901, activator_port=9109)


def routes_of(*names: str) -> dict[str, Any]:
    """The route of each name that leads to a model."""
    manifests = [
        {"metadata": {"name": name, "namespace": "team"}, "spec": {"model": {"source": "pvc://models/x"}}}
        for name in names
    ]
    parsed = [parse_model(manifest) for manifest in manifests]
    table = build_table(model for model in parsed if isinstance(model, Model))
    config = MessageToDict(build_routes(table.targets()), preserving_proto_field_name=True)
    by_name = config["virtual_hosts"][0]["matcher"]
    found = by_name.get("matcher_tree", {}).get("exact_match_map", {"map": {}})["map"]
    return {name: entry["action"]["typed_config"] for name, entry in found.items()}


def test_each_name_of_a_model_leads_to_its_cluster() -> None:
    routes = routes_of("a", "b")
    assert {name: route["route"]["cluster"] for name, route in routes.items()} == {
        **{"a": "team/a", "team/a": "team/a"},
        **{"b": "team/b", "team/b": "team/b"},
    }
    assert routes_of() == {}


def test_a_model_route_has_no_time_out_and_says_whom_it_is_for() -> None:
    route = routes_of("a")["a"]
    assert route["route"]["timeout"] == "0s"
    assert route["metadata"]["filter_metadata"]["tertium"] == {"deployment": "team/a|"}


def test_a_sleeping_model_has_only_the_activator() -> None:
    assignment = build_endpoints(ObjectKey("team", "a"), [], LAYOUT)
    assert [len(tier.lb_endpoints) for tier in assignment.endpoints] == [0, 1]
    assert assignment.cluster_name == "team/a"


def test_a_cluster_gets_its_endpoints_from_the_activator_and_counts_active_requests() -> None:
    cluster = MessageToDict(
        build_cluster(ObjectKey("team", "a"), by_prefix=False), preserving_proto_field_name=True
    )
    assert (cluster["name"], cluster["type"]) == ("team/a", "EDS")
    assert "ads" in cluster["eds_cluster_config"]["eds_config"]
    assert [
        item["typed_extension_config"]["name"] for item in cluster["load_balancing_policy"]["policies"]
    ] == ["least_request"]


def test_a_field_that_envoy_does_not_have_is_an_error() -> None:
    with pytest.raises(ParseError, match='has no field named "conect_timeout"'):
        message(Cluster, {"conect_timeout": "1s"})


def test_the_admin_interface_is_on_loopback_only() -> None:
    bootstrap = build_bootstrap(LAYOUT, node="pod-1")
    assert bootstrap["admin"]["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 9901}
    assert bootstrap["node"]["id"] == "pod-1"

"""Which deployment a name leads to."""

from __future__ import annotations

from typing import Any

import pytest

from tertium.api.meta import ObjectKey
from tertium.core.routing import Model, RoutingTable, build_table, parse_model


def a_manifest(name: str, *, created: str = "2025-01-01T00:00:00Z", **more: Any) -> dict[str, Any]:
    model = {"source": "pvc://models/x", **more.pop("model", {})}
    metadata = {"name": name, "namespace": more.pop("namespace", "team"), "creationTimestamp": created}
    return {
        "metadata": {**metadata, "generation": 1, **more.pop("metadata", {})},
        "spec": {"model": model, **more.pop("spec", {})},
        "status": more.pop("status", {}),
    }


def table_of(*manifests: dict[str, Any]) -> RoutingTable:
    parsed = [parse_model(manifest) for manifest in manifests]
    return build_table(model for model in parsed if isinstance(model, Model))


OLD, NEW = "2024-01-01T00:00:00Z", "2025-06-01T00:00:00Z"


@pytest.mark.parametrize(
    ("manifests", "routes"),
    [
        pytest.param([], {}, id="nothing deployed leads nowhere"),
        pytest.param(
            [a_manifest("m")], {"m": "team/m", "team/m": "team/m"}, id="the object's name is the short name"
        ),
        pytest.param(
            [a_manifest("m", model={"servedName": "big"})],
            {"big": "team/m", "team/m": "team/m"},
            id="a served name replaces the object's name, never the full one",
        ),
        pytest.param(
            [a_manifest("m", namespace="b", created=NEW), a_manifest("m", namespace="a", created=OLD)],
            {"m": "a/m", "a/m": "a/m", "b/m": "b/m"},
            id="the older of two claimants has the short name",
        ),
        pytest.param(
            [a_manifest("m", namespace="b"), a_manifest("m", namespace="a")],
            {"m": "a/m", "a/m": "a/m", "b/m": "b/m"},
            id="created in the same second, the key decides",
        ),
        pytest.param(
            [a_manifest("x", created=NEW), a_manifest("y", created=OLD, model={"servedName": "x"})],
            {"x": "team/y", "team/x": "team/x", "team/y": "team/y"},
            id="a served name may take another's default name when it is older",
        ),
        pytest.param(
            [a_manifest("m", metadata={"deletionTimestamp": NEW})],
            {},
            id="a deployment being deleted is gone",
        ),
    ],
)
def test_names_lead_to_deployments(manifests: list[dict[str, Any]], routes: dict[str, str]) -> None:
    table = table_of(*manifests)
    assert {name: str(key) for name, key in table.routes.items()} == routes
    assert table == table_of(*reversed(manifests))


def test_a_model_is_listed_by_its_short_name_only_where_it_owns_it() -> None:
    table = table_of(a_manifest("m", namespace="a", created=OLD), a_manifest("m", namespace="b", created=NEW))
    assert table.names_of(ObjectKey("a", "m")) == ("m", "a/m")
    assert table.names_of(ObjectKey("b", "m")) == ("b/m",)
    assert table.find("c/m") is None


def test_fields_of_a_newer_schema_are_ignored() -> None:
    manifest = a_manifest("m", spec={"future": {"x": 1}, "coldStart": {"holdSeconds": 7, "later": True}})
    model = parse_model(manifest)
    assert isinstance(model, Model)
    assert (model.hold_seconds, model.max_pending) == (7, 256)


def test_a_spec_that_breaks_the_schema_is_a_sentence() -> None:
    manifest = a_manifest("m", spec={"coldStart": {"maxPending": "many"}})
    assert parse_model(manifest) == (
        "spec.coldStart.maxPending: Input should be a valid integer, unable to parse string as an integer"
    )


@pytest.mark.parametrize(
    ("conditions", "progress"),
    [
        pytest.param((), "", id="no condition, nothing to say"),
        pytest.param(
            (("Progressing", "True", "WaitingForGPU", "no free GPU"),),
            "WaitingForGPU: no free GPU",
            id="a start",
        ),
        pytest.param(
            (("Progressing", "False", "Stable", "nothing to do"),), "", id="no change is no progress"
        ),
        pytest.param(
            (("Planned", "Unknown", "Inspecting", "claim 'models' is missing"),),
            "Inspecting: claim 'models' is missing",
            id="an inspection that waits",
        ),
    ],
)
def test_progress_is_what_the_operator_last_said(
    conditions: tuple[tuple[str, str, str, str], ...], progress: str
) -> None:
    fields = ("type", "status", "reason", "message")
    listed = [dict(zip(fields, one, strict=True)) | {"observedGeneration": 1} for one in conditions]
    model = parse_model(a_manifest("m", status={"conditions": listed}))
    assert isinstance(model, Model)
    assert model.progress == progress

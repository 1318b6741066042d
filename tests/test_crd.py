"""The committed CustomResourceDefinitions: generated, and within the rules of this API."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from tertium.api.crd import custom_resource_definition, object_schema, place
from tertium.api.definitions import API_KEY, DEFINITIONS, Definition
from tertium.api.rules import RULES
from tertium.cli.crds import committed_files

ROOT = Path(__file__).resolve().parents[1]
VERSION = custom_resource_definition()["spec"]["versions"][0]
KUBERNETES = ("1.29", "1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36")
# Functions and macros of CEL that the API server of the oldest of them knows.
CEL = {"all", "contains", "exists", "exists_one", "has", "matches", "size", "startsWith"}
UNITS = re.compile(
    r"(Seconds|[mM]illis|Tokens|Sequences|Replicas|Mebibytes|Characters|[gG]eneration|[rR]eplicas|[gG]pus|nodes|[rR]equests"
    r"|count)$"
    # Counts, whose name says what is counted.
    r"|parallelism\.\w+$|ParallelSize$|gpusPerReplica$|maxPending$|scaling\.desired$"
    r"|requestsPerMinute$|maxConcurrentRequests$"
)


def fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every field of spec and status by its path; items of lists as `path[]`, of maps as `path{}`."""
    for name, field in schema.get("properties", {}).items():
        here = f"{path}.{name}".lstrip(".")
        if here not in ("apiVersion", "kind", "metadata"):
            yield here, field
            yield from fields(field, here)
    for key, sign in (("items", "[]"), ("additionalProperties", "{}")):
        if key in schema:
            yield f"{path}{sign}", schema[key]
            yield from fields(schema[key], f"{path}{sign}")


FIELDS = dict(fields(object_schema()))
KEY_FIELDS = dict(fields(object_schema(API_KEY)))
of_every_kind = pytest.mark.parametrize("known", [FIELDS, KEY_FIELDS], ids=["LLMDeployment", "APIKey"])
every_definition = pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda one: one.kind)


def of_type(kind: str) -> list[Any]:
    return [
        pytest.param(path, field, id=f"{name}.{path}")
        for name, known in (("LLMDeployment", FIELDS), ("APIKey", KEY_FIELDS))
        for path, field in known.items()
        if field.get("type") == kind
    ]


@pytest.mark.parametrize(
    ("path", "text"), [pytest.param(*item, id=item[0]) for item in committed_files().items()]
)
def test_a_committed_file_is_what_the_models_say(path: str, text: str) -> None:
    assert (ROOT / path).read_text() == text, "run `tertium crds --write`"


@every_definition
@pytest.mark.parametrize("kubernetes", KUBERNETES)
def test_a_definition_has_the_shape_that_a_release_of_kubernetes_knows(
    kubernetes: str, definition: Definition
) -> None:
    crd = custom_resource_definition(definition)
    assert kubernetes_validate.validate(crd, kubernetes, strict=True) == kubernetes


def test_a_word_that_a_release_of_kubernetes_does_not_know_is_noticed() -> None:
    definition = custom_resource_definition()
    place(definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "spec.suspend")["const"] = True
    with pytest.raises(kubernetes_validate.ValidationError, match="'const' was unexpected"):
        kubernetes_validate.validate(definition, KUBERNETES[0], strict=True)


@pytest.mark.parametrize(
    "expression",
    [
        pytest.param(rule.expression, id=f"{path}: {rule.message}")
        for path, rules in RULES.items()
        for rule in rules
    ],
)
def test_a_rule_calls_nothing_that_the_oldest_release_lacks(expression: str) -> None:
    code = re.sub("'[^']*'", "''", expression)
    assert set(re.findall(r"(\w+)\(", code)) <= CEL


def test_the_definition_fits_into_the_annotation_of_a_client_side_apply() -> None:
    assert max(len(text) for text in committed_files().values()) < 256 * 1024


Fields = dict[str, dict[str, Any]]


@of_every_kind
def test_no_field_is_a_float(known: Fields) -> None:
    kinds = {field["type"] for field in known.values() if "x-kubernetes-int-or-string" not in field}
    assert kinds <= {"object", "array", "string", "integer", "boolean"}


@of_every_kind
def test_there_is_no_phase(known: Fields) -> None:
    assert not [path for path in known if path.rsplit(".", 1)[-1] == "phase"]


@of_every_kind
def test_every_field_is_described_in_a_sentence(known: Fields) -> None:
    described = {path: field.get("description", "") for path, field in known.items() if path[-1] not in "]}"}
    assert not [path for path, text in described.items() if not re.fullmatch(r"[A-Z`-].*\.", text)]


@of_every_kind
def test_every_word_a_user_chooses_has_an_example(known: Fields) -> None:
    free = {
        path
        for path, field in known.items()
        if path.startswith("spec.") and field.get("type") == "string" and "enum" not in field
    }
    named = {path for path in free if path[-1] not in "]}"}
    assert not [path for path in named if "Example" not in known[path]["description"]]


@pytest.mark.parametrize(("path", "field"), of_type("array"))
def test_a_list_has_a_type_and_a_bound(path: str, field: dict[str, Any]) -> None:
    assert field["x-kubernetes-list-type"] in ("atomic", "map")
    assert field["maxItems"] <= (64 if path.startswith("spec.") else 1000)
    if field["x-kubernetes-list-type"] == "map":
        assert set(field["x-kubernetes-list-map-keys"]) <= set(field["items"]["required"])


@pytest.mark.parametrize(("path", "field"), of_type("object"))
def test_an_object_has_known_fields_or_a_bound_or_is_kubernetes_own(path: str, field: dict[str, Any]) -> None:
    if "additionalProperties" in field:
        assert field["maxProperties"] <= 64
    else:
        assert "properties" in field or field["x-kubernetes-preserve-unknown-fields"] is True


@pytest.mark.parametrize(("path", "field"), of_type("string"))
def test_a_string_is_bounded(path: str, field: dict[str, Any]) -> None:
    assert "maxLength" in field or "enum" in field or field.get("format") == "date-time"


@pytest.mark.parametrize(("path", "field"), of_type("integer"))
def test_an_integer_says_its_unit_and_its_bounds(path: str, field: dict[str, Any]) -> None:
    assert UNITS.search(path), "name the unit"
    assert field["minimum"] >= (-1 if path == "status.observedGeneration" else 0)
    assert path.startswith("status.") or "maximum" in field


def test_stored_objects_hold_what_users_wrote() -> None:
    assert not {path for path, field in KEY_FIELDS.items() if "default" in field}
    assert {path: field["default"] for path, field in FIELDS.items() if "default" in field} == {
        "status": {"observedGeneration": -1}
    }


def test_the_scale_subresource_points_at_fields_that_exist() -> None:
    scale = VERSION["subresources"]["scale"]
    assert {name: path in {f".{known}" for known in FIELDS} for name, path in scale.items()} == {
        "specReplicasPath": True,
        "statusReplicasPath": True,
        "labelSelectorPath": True,
    }


@every_definition
def test_printer_columns_point_at_fields_that_exist(definition: Definition) -> None:
    paths = {f".{path}" for path, _ in fields(object_schema(definition))}
    known = paths | {".metadata.creationTimestamp"}
    for column in definition.columns:
        path = re.sub(r"\[\?\(@\.type==\"\w+\"\)\]", "[]", str(column["jsonPath"]))
        assert path in known, column["name"]


def test_kubectl_shows_readiness_activity_replicas_and_source() -> None:
    columns = VERSION["additionalPrinterColumns"]
    narrow = [column["name"] for column in columns if not column.get("priority")]
    wide = [column["name"] for column in columns if column.get("priority")]
    assert narrow == ["Ready", "Active", "Replicas", "Desired", "Model", "Age"]
    assert wide == ["Accelerator", "GPUs", "Revision", "Message"]

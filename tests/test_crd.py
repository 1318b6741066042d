"""The committed CustomResourceDefinition: generated, and within the rules of this API."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tertium.api.crd import custom_resource_definition
from tertium.cli.crds import committed_files

ROOT = Path(__file__).resolve().parents[1]
VERSION = custom_resource_definition()["spec"]["versions"][0]
SCHEMA = VERSION["schema"]["openAPIV3Schema"]
NO_UNIT = {
    # Counts, whose name is their unit.
    *("spec.replicas", "spec.parallelism.tensor", "spec.coldStart.maxPending", "status.scaling.desired"),
    *("status.plan.gpusPerReplica", "status.plan.tensorParallelSize"),
}
UNITS = re.compile(r"(Seconds|[mM]illis|Tokens|Sequences|Replicas|Mebibytes|[gG]eneration|replicas)$")


def fields(path: str = "", schema: dict[str, Any] = SCHEMA) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every field below spec and status with its path; items of lists as `path[]`."""
    for name, field in schema.get("properties", {}).items():
        here = f"{path}.{name}".lstrip(".")
        if here in ("apiVersion", "kind", "metadata"):
            continue
        yield here, field
        if "items" in field:
            yield f"{here}[]", field["items"]
            yield from fields(f"{here}[]", field["items"])
        yield from fields(here, field)


FIELDS = dict(fields())


def of_type(kind: str) -> list[Any]:
    return [pytest.param(path, field, id=path) for path, field in FIELDS.items() if field["type"] == kind]


@pytest.mark.parametrize(
    ("path", "text"), [pytest.param(*item, id=item[0]) for item in committed_files().items()]
)
def test_a_committed_file_is_what_the_models_say(path: str, text: str) -> None:
    assert (ROOT / path).read_text() == text, "run `tertium crds --write`"


def test_no_field_is_a_float() -> None:
    assert {field["type"] for field in FIELDS.values()} <= {"object", "array", "string", "integer", "boolean"}


def test_there_is_no_phase() -> None:
    assert not [path for path in FIELDS if path.rsplit(".", 1)[-1] == "phase"]


def test_every_field_is_described() -> None:
    assert not [
        path for path, field in FIELDS.items() if not path.endswith("[]") and not field.get("description")
    ]


@pytest.mark.parametrize(("path", "field"), of_type("array"))
def test_a_list_has_a_type_and_a_bound(path: str, field: dict[str, Any]) -> None:
    assert field["x-kubernetes-list-type"] in ("atomic", "map")
    assert field["maxItems"] <= 64
    if field["x-kubernetes-list-type"] == "map":
        assert set(field["x-kubernetes-list-map-keys"]) <= set(field["items"]["required"])


@pytest.mark.parametrize(("path", "field"), of_type("string"))
def test_a_string_is_bounded(path: str, field: dict[str, Any]) -> None:
    assert "maxLength" in field or "enum" in field or field.get("format") == "date-time"


@pytest.mark.parametrize(("path", "field"), of_type("integer"))
def test_an_integer_says_its_unit_and_its_least_value(path: str, field: dict[str, Any]) -> None:
    assert path in NO_UNIT or UNITS.search(path), "name the unit"
    assert field["minimum"] >= 0
    assert path.startswith("status.") or "maximum" in field


def test_stored_objects_hold_what_users_wrote() -> None:
    assert not [path for path, field in FIELDS.items() if "default" in field]


def test_the_scale_subresource_points_at_fields_that_exist() -> None:
    scale = VERSION["subresources"]["scale"]
    assert {name: path in {f".{known}" for known in FIELDS} for name, path in scale.items()} == {
        "specReplicasPath": True,
        "statusReplicasPath": True,
        "labelSelectorPath": True,
    }


def test_printer_columns_point_at_fields_that_exist() -> None:
    known = {f".{path}" for path in FIELDS} | {".metadata.creationTimestamp"}
    for column in VERSION["additionalPrinterColumns"]:
        path = re.sub(r"\[\?\(@\.type==\"\w+\"\)\]", "[]", column["jsonPath"])
        assert path in known, column["name"]


def test_kubectl_shows_readiness_activity_replicas_and_source() -> None:
    columns = VERSION["additionalPrinterColumns"]
    narrow = [column["name"] for column in columns if not column.get("priority")]
    wide = [column["name"] for column in columns if column.get("priority")]
    assert narrow == ["Ready", "Active", "Replicas", "Desired", "Model", "Age"]
    assert wide == ["Accelerator", "GPUs"]

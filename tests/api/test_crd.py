"""What the generator refuses, and the rules between fields."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ConfigDict, Field

from e2e.bad_input import REFUSED
from tertium.api.crd import CannotHold, object_schema, place, structural
from tertium.api.meta import ApiModel, ObjectKey
from tertium.api.rules import RULES
from tertium.core import names


class Tree(ApiModel):
    children: tuple[Tree, ...] = Field(description="More of the same.")


class Holder(ApiModel):
    tree: Tree = Field(description="A tree.")


class Union(ApiModel):
    port: int | str = Field(description="A number or a name.")


class Fraction(ApiModel):
    share: float = Field(description="A share.")


class Bag(ApiModel):
    names: frozenset[str] = Field(description="Names.")


class Pair(ApiModel):
    ends: tuple[int, str] = Field(description="Two ends.")


class Nothing(ApiModel):
    ends: tuple[()] = Field(description="No ends.")


class Anything(ApiModel):
    words: tuple[Any, ...] = Field(description="Anything.")


class Opaque(ApiModel):
    template: dict[str, Any] = Field(description="Anything.")


class Known(ApiModel):
    model_config = ConfigDict(extra="allow")

    name: str = Field(description="Its name.")


class Loose(ApiModel):
    known: Known = Field(description="A name and more.")


class Exact(ApiModel):
    size: int = Field(gt=1, description="Its size.")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        pytest.param(Holder, "tree.children[]: Tree contains itself", id="a type that contains itself"),
        pytest.param(
            Union, "port: a union of 2 types; only `X | None` can be held", id="a union of two types"
        ),
        pytest.param(
            Fraction,
            "share: type 'number' is not one of object, array, string, integer, boolean",
            id="a float",
        ),
        pytest.param(Bag, "names: a structural schema has no uniqueItems", id="a set"),
        pytest.param(Pair, "ends: a structural schema has no prefixItems", id="a tuple of different types"),
        pytest.param(Nothing, "ends: a list needs one schema for its items", id="a list of nothing"),
        pytest.param(
            Anything,
            "words[]: type None is not one of object, array, string, integer, boolean",
            id="a list of anything",
        ),
        pytest.param(
            Opaque,
            "template: an object needs known fields, one schema for its values, or "
            "x-kubernetes-preserve-unknown-fields",
            id="an object of anything",
        ),
        pytest.param(
            Loose,
            "known: known fields and free ones need x-kubernetes-preserve-unknown-fields",
            id="free fields beside known ones",
        ),
        pytest.param(
            Exact, "size: a structural schema has no exclusiveMinimum", id="a bound that is not reached"
        ),
    ],
)
def test_what_kubernetes_cannot_hold_is_refused_with_its_path(model: type[ApiModel], message: str) -> None:
    with pytest.raises(CannotHold) as refused:
        structural(model.model_json_schema(by_alias=True))
    assert str(refused.value) == message


class Leaf(ApiModel):
    """What a leaf is."""

    size_mebibytes: int | None = Field(default=None, ge=1, description="Its size.")


class Plant(ApiModel):
    """A plant."""

    leaf: Leaf = Field(default=Leaf(), description="The leaf of this plant.")
    tags: dict[str, str] = Field(description="Free words.")


def test_optional_and_nested_types_become_plain_schemas() -> None:
    assert structural(Plant.model_json_schema(by_alias=True)) == {
        "description": "A plant.",
        "type": "object",
        "required": ["tags"],
        "properties": {
            "leaf": {
                "description": "The leaf of this plant.",
                "type": "object",
                "properties": {
                    "sizeMebibytes": {"description": "Its size.", "type": "integer", "minimum": 1}
                },
            },
            "tags": {
                "description": "Free words.",
                "type": "object",
                "additionalProperties": {"type": "string"},
            },
        },
    }


@pytest.mark.parametrize(
    ("path", "end"),
    [
        pytest.param("spec.scaling.maxReplicas", " starts. Default: `1`.", id="a number"),
        pytest.param("spec.suspend", " and `scaling`. Default: `false`.", id="a truth value, as YAML has it"),
        pytest.param("spec.coldStart.mode", " at once. Default: `Hold`.", id="a word"),
        pytest.param(
            "spec.engine.env[].value", " expanded. Example: `DEBUG`.", id="an empty default, not told"
        ),
        pytest.param(
            "spec.model.source", " Examples: `hf://Qwen/Qwen3-8B`, `pvc://models/qwen3-8b`.", id="examples"
        ),
        pytest.param(
            "spec.template.resources.limits", ' Example: `{"memory": "96Gi"}`.', id="an example that is a map"
        ),
        pytest.param("status.replicas", "Replicas that exist.", id="none in the status"),
    ],
)
def test_defaults_and_examples_are_told_in_the_description(path: str, end: str) -> None:
    assert place(object_schema(), path)["description"].endswith(end)


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        pytest.param(
            "spec.template.affinity",
            {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            id="an object that belongs to Kubernetes",
        ),
        pytest.param(
            "spec.template.volumes[]",
            {
                "type": "object",
                "x-kubernetes-preserve-unknown-fields": True,
                "required": ["name"],
                "properties": {
                    "name": {
                        "description": "Name of the volume. Example: `adapters`.",
                        "type": "string",
                        "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
                        "minLength": 1,
                        "maxLength": 63,
                    }
                },
            },
            id="a known field among Kubernetes' own",
        ),
        pytest.param(
            "spec.template.labels",
            {
                "type": "object",
                "maxProperties": 64,
                "additionalProperties": {
                    "type": "string",
                    "maxLength": 63,
                    "pattern": "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$",
                },
            },
            id="a bounded map",
        ),
    ],
)
def test_parts_of_a_pod_are_held_as_far_as_they_are_known(path: str, schema: dict[str, Any]) -> None:
    held = place(object_schema(), path)
    beside = ("description", "x-kubernetes-validations")
    assert {key: value for key, value in held.items() if key not in beside} == schema


def test_a_quantity_is_a_number_or_a_text_that_kubernetes_reads() -> None:
    quantity = place(object_schema(), "spec.template.resources.limits")["additionalProperties"]
    assert quantity["x-kubernetes-int-or-string"] is True
    assert "type" not in quantity
    read = re.compile(quantity["pattern"]).search
    assert all(read(text) for text in ("1", "0.5", ".5", "5.", "100m", "64Gi", "1e3", "1E-3", "2k"))
    assert not any(read(text) for text in ("", "-1", "1 Gi", "1gi", "1e", "Gi", "1Gib", "one"))


def test_a_rule_for_a_field_that_does_not_exist_is_refused() -> None:
    with pytest.raises(CannotHold, match=r"^spec\.modle: a rule names this field"):
        place(object_schema(), "spec.modle")


@pytest.mark.parametrize("path", RULES)
def test_a_rule_names_fields_that_exist(path: str) -> None:
    schema = object_schema()
    for rule, placed in zip(RULES[path], place(schema, path)["x-kubernetes-validations"], strict=True):
        assert placed["rule"] == rule.expression
        assert placed["message"] == rule.message
        place(schema, f"{path}{rule.field}")


@pytest.mark.parametrize("key", names.labels(ObjectKey("team-a", "m"), "engine"))
def test_a_label_of_tertiums_own_is_refused_in_the_template(key: str) -> None:
    (rule,) = RULES["spec.template.labels"]
    assert key.startswith("tertium.dev/") or f"'{key}'" in rule.expression


@pytest.mark.parametrize("message", [rule.message for rules in RULES.values() for rule in rules])
def test_the_end_to_end_tests_break_every_rule(message: str) -> None:
    broken = [rule for _, _, rule in (row.values for row in REFUSED)]
    # A rule about a change needs two writes, so it is no row of the table.
    assert "cannot be changed" in message or any(rule in message for rule in broken)

"""What the generator refuses, and the rules between fields."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field

from tertium.api.crd import CannotHold, object_schema, place, structural
from tertium.api.meta import ApiModel
from tertium.api.rules import RULES


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


class Opaque(ApiModel):
    template: dict[str, Any] = Field(description="Anything.")


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
        pytest.param(
            Opaque,
            "template: an object needs known fields or one schema for its values",
            id="an object of anything",
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


def test_a_default_is_told_in_the_description() -> None:
    field = place(object_schema(), "spec.scaling.idleSeconds")
    assert field["description"].endswith(" stop. Default: 600.")


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

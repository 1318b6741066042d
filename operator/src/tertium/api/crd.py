"""From the pydantic models to the CustomResourceDefinition.

The API server holds structural schemas only. What pydantic can say and a structural schema cannot is refused
here with its path, when the definition is generated, instead of by a server later. Must not read any file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from tertium.api.definitions import LLM_DEPLOYMENT, Definition
from tertium.api.rules import Rule
from tertium.api.v1alpha1 import GROUP, VERSION

Schema = dict[str, Any]

_OPEN: Final = "x-kubernetes-preserve-unknown-fields"
_KEPT: Final = (
    "type",
    "format",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-int-or-string",
    _OPEN,
)
# Words of pydantic that carry nothing for the server, or that are read before this list is looked at.
_READ: Final = frozenset(
    {
        *("title", "examples", "default", "description", "required", "properties", "items"),
        *("additionalProperties", "$defs"),
    }
)


class CannotHold(ValueError):
    """A model says something that a CustomResourceDefinition cannot; the text starts with its path."""


def custom_resource_definition(definition: Definition = LLM_DEPLOYMENT) -> Schema:
    """Return the CRD of a kind. Raises CannotHold, naming the path."""
    version: Schema = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": object_schema(definition)},
        "subresources": dict(definition.subresources),
        "additionalPrinterColumns": [dict(column) for column in definition.columns],
    }
    if not definition.subresources:
        del version["subresources"]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{definition.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": definition.kind,
                "listKind": f"{definition.kind}List",
                "plural": definition.plural,
                "singular": definition.kind.lower(),
                "shortNames": [definition.short_name],
                "categories": ["tertium"],
            },
            "versions": [version],
        },
    }


def object_schema(definition: Definition = LLM_DEPLOYMENT) -> Schema:
    """Return the structural schema of a whole object, with the kind's rules in place."""
    schema = structural(definition.model.model_json_schema(by_alias=True))
    schema["description"] = definition.description
    envelope = {
        "apiVersion": {"type": "string", "description": "Version of this schema."},
        "kind": {"type": "string", "description": f"Always `{definition.kind}`."},
        "metadata": {"type": "object"},
    }
    schema["properties"] = {**envelope, **schema["properties"]}
    for field, default in definition.defaults.items():
        schema["properties"][field]["default"] = default
    for path, rules in definition.rules.items():
        place(schema, path)["x-kubernetes-validations"] = [_validation(rule) for rule in rules]
    return schema


def structural(document: Mapping[str, Any]) -> Schema:
    """Return a pydantic JSON schema as a structural schema. Raises CannotHold, naming the path."""
    return _convert(document, document.get("$defs", {}), path="", seen=())


def place(schema: Schema, path: str) -> Schema:
    """Return the schema at a dotted path, `[]` for the items of a list. Raises CannotHold without one."""
    found = schema
    for name in path.replace("[]", ".[]").split("."):
        inner = found.get("items") if name == "[]" else found.get("properties", {}).get(name)
        if inner is None:
            raise CannotHold(f"{path}: a rule names this field, which the schema does not have")
        found = inner
    return found


def _validation(rule: Rule) -> Schema:
    validation = {"rule": rule.expression, "message": rule.message}
    return {**validation, "fieldPath": rule.field} if rule.field else validation


def _convert(node: Mapping[str, Any], defs: Mapping[str, Any], path: str, seen: tuple[str, ...]) -> Schema:
    node, seen = _resolve(node, defs, path, seen)
    unknown = node.keys() - _READ - set(_KEPT)
    if unknown:
        raise CannotHold(f"{path or '.'}: a structural schema has no {', '.join(sorted(unknown))}")
    schema: Schema = {"description": _description(node, path)} if "description" in node else {}
    schema |= {key: node[key] for key in _KEPT if key in node}
    match node.get("type"):
        case "object":
            schema |= _object(node, defs, path, seen)
        case "array":
            if not isinstance(node.get("items"), Mapping):
                raise CannotHold(f"{path}: a list needs one schema for its items")
            schema["items"] = _convert(node["items"], defs, f"{path}[]", seen)
        case "string" | "integer" | "boolean":
            pass
        case None if "x-kubernetes-int-or-string" in node:
            pass
        case other:
            raise CannotHold(
                f"{path or '.'}: type {other!r} is not one of object, array, string, integer, boolean"
            )
    return schema


def _object(node: Mapping[str, Any], defs: Mapping[str, Any], path: str, seen: tuple[str, ...]) -> Schema:
    # Closed objects stay closed without saying so: the server prunes, and refuses under strict validation,
    # what a structural schema does not name. `additionalProperties: false` itself it would not accept.
    additional = node.get("additionalProperties", False)
    if "properties" not in node:
        if isinstance(additional, Mapping):
            return {"additionalProperties": _convert(additional, defs, f"{path}{{}}", seen)}
        if _OPEN in node:
            return {}
        raise CannotHold(f"{path}: an object needs known fields, one schema for its values, or {_OPEN}")
    if additional is not False and not (additional is True and _OPEN in node):
        raise CannotHold(f"{path or '.'}: known fields and free ones need {_OPEN}")
    properties = {
        name: _convert(field, defs, f"{path}.{name}".lstrip("."), seen)
        for name, field in node["properties"].items()
    }
    required = {"required": list(node["required"])} if node.get("required") else {}
    return {**required, "properties": properties}


def _resolve(
    node: Mapping[str, Any], defs: Mapping[str, Any], path: str, seen: tuple[str, ...]
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Follow references and unwrap `X | None`; words beside a reference win over what it names."""
    while "$ref" in node or "anyOf" in node:
        if "anyOf" in node:
            options = [option for option in node["anyOf"] if option.get("type") != "null"]
            if len(options) != 1:
                raise CannotHold(f"{path}: a union of {len(options)} types; only `X | None` can be held")
            inner = options[0]
        else:
            name = node["$ref"].rsplit("/", 1)[-1]
            if name in seen:
                raise CannotHold(f"{path}: {name} contains itself")
            seen, inner = (*seen, name), defs[name]
        beside = {key: value for key, value in node.items() if key not in ("$ref", "anyOf")}
        node = {**inner, **beside}
    return node, seen


def _description(node: Mapping[str, Any], path: str) -> str:
    """Spell out default and examples. Defaults live in the operator: objects keep what users wrote."""
    text: str = node["description"].replace("\n", " ")
    if not path.startswith("spec."):
        return text
    default, examples = node.get("default"), [_word(example) for example in node.get("examples", ())]
    if isinstance(default, str | int) and default != "":
        text += f" Default: {_word(default)}."
    if examples:
        text += f" Example{'s' if len(examples) > 1 else ''}: {', '.join(examples)}."
    return text


def _word(value: object) -> str:
    """A value as a user writes it into a manifest."""
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"

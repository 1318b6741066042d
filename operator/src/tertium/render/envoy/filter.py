"""Tertium's own filter in Envoy (`images/gateway/filter`): where it stands, and the words shared with it.

It reads which model a request is for, has its route looked up by that name, and says in headers which
deployment it found, or what is wrong. It counts the tokens of answers; the activator asks for the sums.
"""

from __future__ import annotations

from typing import Final

from tertium.render.envoy.layout import TYPES, Layout, Resource

BODY_NOT_JSON: Final = "body_not_json"
FORM_BROKEN: Final = "form_broken"
MODEL_MISSING: Final = "model_missing"
MODEL_UNKNOWN: Final = "model_unknown"

OPENAI: Final = "/v1/"
OTHERS: Final = (
    *("/v2/rerank", "/v2/embed", "/rerank", "/score", "/classify", "/pooling"),
    *("/tokenize", "/detokenize", "/invocations", "/inference/v1/generate"),
)
API_PATHS: Final = rf"{OPENAI}.*|{'|'.join(OTHERS)}"
"""What the engine serves to callers, as far as a `model` in the body says which one is meant."""

JSON_CONTENT_TYPE: Final = r"(?i)\s*application/json\s*(;.*)?"
FORM_CONTENT_TYPE: Final = r"(?i)\s*multipart/form-data\s*(;.*)?"

ROUTE_DEPLOYMENT: Final = "deployment"
"""Key of the route's metadata that says whose requests these are: `namespace/name|uid`."""
ROUTE_PREFIX: Final = "prefixCharacters"
"""Key of the route's metadata that says how much of a prompt decides on the replica."""

TALLY_PATH: Final = "/tertium/tally"
"""Where the activator reads the sums, at the listener that is for it alone."""


def before_callers(layout: Layout) -> Resource:
    """The filter where callers come in."""
    return _filter(layout, "callers")


def before_activator(layout: Layout) -> Resource:
    """The filter where the activator sends requests on. What was counted before is not counted again."""
    return _filter(layout, "activator")


def strip_private(layout: Layout) -> Resource:
    """What takes from a request the headers that only Envoy and the activator may send each other."""
    kind = (
        f"{TYPES}.extensions.http.early_header_mutation.dynamic_modules.v3.DynamicModuleEarlyHeaderMutation"
    )
    config = {
        "@type": kind,
        "dynamic_module_config": _module(layout),
        "early_header_mutation_name": "strip",
    }
    return {"name": "strip", "typed_config": config}


def _filter(layout: Layout, place: str) -> Resource:
    kind = f"{TYPES}.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter"
    config = {"@type": kind, "dynamic_module_config": _module(layout), "filter_name": place}
    return {"name": "tertium", "typed_config": config}


def _module(layout: Layout) -> Resource:
    # It stays loaded: the sums are in its memory.
    return {"module": {"local": {"filename": layout.filter_file}}, "do_not_close": True}

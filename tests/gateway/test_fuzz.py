"""Whatever callers and objects say: the activator has an answer, and Envoy is told nothing it cannot read."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from hypothesis import given
from hypothesis import strategies as st

from tertium.core.api_keys import ApiKey, parse_api_key
from tertium.core.routing import Model, build_table, parse_model
from tertium.gateway.answers import Answer, Asked, explain
from tertium.gateway.in_band import STREAMED, error_event, error_of, sign_of_life
from tertium.gateway.wishes import wish_of
from tertium.render.envoy.layout import ASKED_HOLD_HEADER
from tertium.render.envoy.routes import build_routes
from tests.gateway.parts import a_deployment
from tests.gateway.stack import Stack

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    ["model", "capacity", "scaling", "coldStart", "routing", "replicas", "engine", "suspend"]
)
TEXT = st.text(max_size=300)


@given(spec=st.dictionaries(FIELDS | TEXT, JSON, max_size=4))
def test_a_deployment_of_any_spec_is_a_model_or_a_sentence(spec: dict[str, Any]) -> None:
    manifest = a_deployment("fuzzed")
    manifest["spec"] |= spec
    assert isinstance(parse_model(manifest), Model | str)


@given(spec=st.dictionaries(st.sampled_from(["keySHA256", "allow", "requestsPerMinute", "expiresAt"]), JSON))
def test_an_api_key_of_any_spec_is_a_key_or_a_sentence(spec: dict[str, Any]) -> None:
    metadata = {"name": "k", "namespace": "team", "creationTimestamp": "2025-01-01T00:00:00Z"}
    assert isinstance(parse_api_key({"metadata": metadata, "spec": spec}, home="tertium"), ApiKey | str)


@given(served=st.lists(TEXT, max_size=6))
def test_routes_of_any_names_are_read_back_as_they_were(served: list[str]) -> None:
    found = [parse_model(a_deployment(f"m{n}", served_name=name)) for n, name in enumerate(served)]
    table = build_table(model for model in found if isinstance(model, Model))
    routes = RouteConfiguration.FromString(build_routes(table.targets()).SerializeToString())
    tree = routes.virtual_hosts[0].matcher.matcher_tree
    assert set(tree.exact_match_map.map) == set(table.routes)


@given(
    st.builds(
        Asked, problem=TEXT, method=TEXT, path=TEXT, model=TEXT, content_type=TEXT, content_encoding=TEXT
    )
)
def test_any_request_is_told_what_is_wrong_in_few_words(asked: Asked) -> None:
    answer = explain(asked, build_table([]))
    assert 400 <= answer.status < 500
    assert len(json.dumps(answer.body)) < 2000


@given(TEXT)
def test_any_wish_is_a_number_or_an_answer(text: str) -> None:
    wish = wish_of({ASKED_HOLD_HEADER: text})
    assert (isinstance(wish, int) and 0 <= wish < 10**9) or (isinstance(wish, Answer) and wish.status == 400)


@given(words=TEXT, eta=st.none() | st.integers(0, 10**6))
def test_no_words_become_an_event_of_a_held_stream(words: str, eta: int | None) -> None:
    sign = sign_of_life("team/m", "waking", eta, 1, words).decode()
    assert sign.startswith(": ")
    assert sign.endswith("\n\n")
    assert len(sign.strip("\n").splitlines()) == 1


@given(path=st.sampled_from(STREAMED), status=st.integers(400, 599), body=st.binary(max_size=400))
def test_any_error_ends_a_held_stream_in_whole_events(path: str, status: int, body: bytes) -> None:
    text = error_event(path, status, error_of(status, body)).decode()
    assert text.endswith("\n\n")
    for line in filter(None, text.split("\n")):
        field, _, value = line.partition(": ")
        assert field in ("event", "data")
        if field == "data" and value != "[DONE]":
            json.loads(value)


@pytest.mark.asyncio(loop_scope="module")
async def test_any_body_gets_an_error_of_openais_shape(stack: Stack) -> None:
    chance = random.Random(20261127)
    pieces = [
        b'{"model":',
        b'"m"',
        b"}",
        b"{",
        b"[",
        b"\x00",
        b"\xff\xfe",
        b'"',
        b"\\u0000",
        b"1e999",
        b",",
        b" ",
    ]
    for _ in range(150):
        body = b"".join(chance.choices(pieces, k=chance.randrange(8))) + chance.randbytes(
            chance.randrange(20)
        )
        reply = await stack.send(body)
        assert 400 <= reply.status < 500, (body, reply)
        assert reply.error["type"] == "invalid_request_error", body

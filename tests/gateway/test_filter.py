"""The gateway's filter: its own tests, its agreement with Python's JSON, the names that both sides know."""

from __future__ import annotations

import json
import random
import re
import string
import subprocess
from typing import Any, NoReturn

import pytest

from e2e.cluster import envoy_filter
from tertium.render.envoy import filter as rendered
from tertium.render.envoy import layout
from tests.gateway.stack import Stack

PRINTABLE = set(string.ascii_letters + string.digits + string.punctuation)


def test_its_own_tests_pass() -> None:
    ran = subprocess.run([envoy_filter.build_tests()], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
    assert re.search(r"^test result: ok\. [1-9]\d* passed", ran.stdout, re.MULTILINE)


def test_the_image_has_it_built_as_here() -> None:
    dockerfile = (envoy_filter.SOURCES.parent / "Dockerfile").read_text()
    assert f"RUN rustc {' '.join(envoy_filter.LIBRARY)} " in " ".join(dockerfile.split())


@pytest.mark.parametrize(
    ("file", "name", "value"),
    [
        ("exchange.rs", "SPACE", layout.METADATA),
        ("exchange.rs", "MODEL", layout.MODEL_STATE),
        ("exchange.rs", "DEPLOYMENT", rendered.ROUTE_DEPLOYMENT),
        ("exchange.rs", "PREFIX_BYTES", rendered.ROUTE_PREFIX),
        ("exchange.rs", "DEPLOYMENT_HEADER", layout.DEPLOYMENT_HEADER),
        ("exchange.rs", "STREAM_HEADER", layout.STREAM_HEADER),
        ("exchange.rs", "PREFIX_HEADER", layout.PREFIX_HEADER),
        ("exchange.rs", "KEY_HEADER", layout.KEY_HEADER),
        ("exchange.rs", "PROBLEM_HEADER", layout.PROBLEM_HEADER),
        ("exchange.rs", "MODEL_HEADER", layout.MODEL_HEADER),
        ("exchange.rs", "LOOKUPS_HEADER", layout.LOOKUPS_HEADER),
        ("exchange.rs", "RELEASED", str(layout.RELEASED)),
        ("exchange.rs", "TALLY_PATH", rendered.TALLY_PATH),
        ("strip.rs", "ASKED_HOLD_HEADER", layout.ASKED_HOLD_HEADER),
        ("request.rs", "BODY_NOT_JSON", rendered.BODY_NOT_JSON),
        ("request.rs", "FORM_BROKEN", rendered.FORM_BROKEN),
        ("request.rs", "MODEL_MISSING", rendered.MODEL_MISSING),
        ("request.rs", "MODEL_UNKNOWN", rendered.MODEL_UNKNOWN),
        ("request.rs", "OPENAI", rendered.OPENAI),
    ],
)
def test_both_sides_know_one_name(file: str, name: str, value: str) -> None:
    found = re.search(rf'const {name}: [^=]*= b?"([^"]*)"', (envoy_filter.SOURCES / file).read_text())
    assert found is not None
    assert found[1] == value


def test_both_sides_know_the_same_paths() -> None:
    found = re.search(r"const OTHERS: [^=]*= \[([^]]*)\]", (envoy_filter.SOURCES / "request.rs").read_text())
    assert found is not None
    assert tuple(re.findall(r'"([^"]*)"', found[1])) == rendered.OTHERS


@pytest.mark.asyncio(loop_scope="module")
async def test_it_reads_json_as_python_does(stack: Stack) -> None:
    chance = random.Random(20261128)
    seen: set[str] = set()
    for _ in range(600):
        body = a_body(chance)
        reply = await stack.send(body)
        code, model = verdict(body)
        assert reply.error["code"] == code, (body, reply)
        if model is not None:
            assert f"'{model}'" in reply.error["message"], (body, reply)
        seen.add(code)
    assert seen == {"body_not_json", "model_missing", "model_invalid", "model_not_found"}


@pytest.mark.asyncio(loop_scope="module")
async def test_callers_cannot_ask_for_the_sums(stack: Stack) -> None:
    reply = await stack.send("", method="GET", path=rendered.TALLY_PATH)
    assert (reply.status, reply.error["code"]) == (404, "path_not_found")


def verdict(body: bytes) -> tuple[str, str | None]:
    """What Python finds in a body: the error's code, and the name of the model that is not there."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(constant)

    if not body:
        return "model_missing", None
    try:
        found = json.loads(body.decode(), parse_constant=refuse)
    except ValueError:
        return "body_not_json", None
    model = found.get("model") if isinstance(found, dict) else None
    if model is None:
        return "model_missing", None
    if isinstance(model, str) and model and set(model) <= PRINTABLE:
        return "model_not_found", model
    return "model_invalid", None


def a_body(chance: random.Random) -> bytes:
    """A JSON text as any client may write it, in one of three cases with a byte of it changed, or two."""
    text = a_text(chance, an_object(chance, 3) if chance.random() < 0.9 else a_value(chance, 2))
    body = bytearray(text.encode())
    for _ in range(chance.choice([0, 0, 0, 0, 1, 2])):
        at = chance.randrange(len(body) + 1)
        edits = [b"", bytes([chance.randrange(256)]), *(bytes([mark]) for mark in b'"\\{,0')]
        body[at : at + chance.randrange(2)] = chance.choice(edits)
    return bytes(body)


def a_text(chance: random.Random, value: Any) -> str:
    """JSON in one of its spellings; pairs instead of a dict, because names may repeat."""
    space = chance.choice(["", " ", "\r\n\t"])
    if isinstance(value, tuple):
        members = (f"{a_text(chance, name)}{space}:{a_text(chance, member)}" for name, member in value)
        return f"{space}{{{space}{','.join(members)}{space}}}{space}"
    if isinstance(value, list):
        return f"[{space}{f'{space},'.join(a_text(chance, item) for item in value)}{space}]"
    if isinstance(value, str) and chance.random() < 0.3:
        units = value.encode("utf-16-be", "surrogatepass")
        return '"' + "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2)) + '"'
    return json.dumps(value, ensure_ascii=chance.random() < 0.5)


def an_object(chance: random.Random, depth: int) -> tuple[tuple[str, Any], ...]:
    names = ["model", "model", "stream", "messages", "x", "", "mod"]
    return tuple((chance.choice(names), a_value(chance, depth)) for _ in range(chance.randrange(5)))


def a_value(chance: random.Random, depth: int) -> Any:
    plain = ["m", "team/m", "a b", "", "é", "\U0001f600", "\n", '"\\/', None, True, 0, -1.5e300, 10**30]
    if depth == 0 or chance.random() < 0.7:
        return chance.choice(plain)
    if chance.random() < 0.5:
        return an_object(chance, depth - 1)
    return [a_value(chance, depth - 1) for _ in range(chance.randrange(4))]

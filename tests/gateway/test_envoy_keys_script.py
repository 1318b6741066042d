"""The parts of the script that checks API keys, each asked on its own in the real Envoy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from tertium.render.envoy import keys, keys_script
from tertium.render.envoy.layout import BOOTSTRAP_FILE, TYPES
from tests.gateway.stack import free_ports, running_envoy, running_stack, until_listening

pytestmark = pytest.mark.asyncio(loop_scope="module")

Ask = Callable[[str, str], Awaitable[str]]
"""Takes the name of a function of the script and its argument; returns what it returns."""

_ASKED = """
function envoy_on_request(handle)
  local argument = handle:headers():get("x-argument")
  local name = handle:headers():get("x-function")
  handle:respond({[":status"] = "200"}, name == "sha256" and sha256(argument) or network(argument))
end
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ask(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ask]:
    """An Envoy that runs nothing but the script's own functions."""
    directory = tmp_path_factory.mktemp("script")
    (port,) = free_ports(1)
    parts = keys_script._SHA256 + keys_script._GUESSES + _ASKED
    (directory / BOOTSTRAP_FILE).write_text(json.dumps(a_bootstrap(port, parts)))
    connector = aiohttp.TCPConnector(limit=1)
    async with running_envoy(directory), aiohttp.ClientSession(connector=connector) as session:

        async def asked(name: str, argument: str) -> str:
            headers = {"x-function": name, "x-argument": argument}
            async with session.get(f"http://127.0.0.1:{port}/", headers=headers) as answer:
                return await answer.text()

        await until_listening(port)
        yield asked


def a_bootstrap(port: int, script: str) -> dict[str, object]:
    lua = {"@type": f"{TYPES}.extensions.filters.http.lua.v3.Lua"}
    router = {"@type": f"{TYPES}.extensions.filters.http.router.v3.Router"}
    http = {
        "@type": f"{TYPES}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "script",
        "route_config": {},
        "http_filters": [
            {"name": "script", "typed_config": {**lua, "default_source_code": {"inline_string": script}}},
            {"name": "router", "typed_config": router},
        ],
    }
    listener = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": http}]}],
    }
    return {"static_resources": {"listeners": [listener]}}


@pytest.mark.parametrize("length", [1, 31, 54, 55, 56, 63, 64, 65, 118, 119, 120, 128, 511, 512])
async def test_the_hash_is_sha256_at_every_boundary_of_its_blocks(ask: Ask, length: int) -> None:
    text = "".join(chr(33 + (7 * index) % 94) for index in range(length))
    assert await ask("sha256", text) == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("address", "network"),
    [
        pytest.param("192.0.2.7:4711", "192.0.2.7", id="IPv4"),
        pytest.param("[2001:db8:1:2:3:4:5:6]:4711", "2001:db8:1:2", id="IPv6 in full"),
        pytest.param("[2001:db8::5:6]:4711", "2001:db8:0:0", id="a gap in the middle"),
        pytest.param("[2001:db8:1:2:3::]:4711", "2001:db8:1:2", id="a gap at the end"),
        pytest.param("[::1]:4711", "0:0:0:0", id="a gap at the beginning"),
        pytest.param("[1:2:3::6:7:8]:0", "1:2:3:0", id="a gap across the border"),
    ],
)
async def test_guesses_are_counted_by_network(ask: Ask, address: str, network: str) -> None:
    assert await ask("network", address) == network


@pytest.mark.parametrize("broken", ["check_script", "permit_script"])
async def test_a_script_that_fails_lets_nobody_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    fails = "function envoy_on_request(handle) error('broken') end"
    monkeypatch.setattr(keys, broken, lambda *_: fails)
    async with running_stack(tmp_path, api_keys=True) as stack:
        model, engine = await stack.deploy(), await stack.start_engine()
        await stack.add_replica(model, engine)
        assert (await stack.ask(str(model))).status in (401, 403)
        assert engine.requests == []

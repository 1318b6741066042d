"""What callers say of themselves and what is believed: no private header, no false address."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.gateway.stack import Stack, running_stack

PRIVATE = {
    **{
        f"x-tertium-{name}": "spoofed"
        for name in ("deployment", "problem", "model", "prefix", "client", "Key")
    },
    **{
        f"x-envoy-{name}": value
        for name, value in {
            "attempt-count": "7",
            "original-url": "http://elsewhere/v1/completions",
            "original-path": "/elsewhere",
            "original-host": "elsewhere",
            "max-retries": "9",
            "retry-on": "5xx",
            "retriable-status-codes": "200",
            "upstream-rq-timeout-ms": "1",
            "upstream-rq-per-try-timeout-ms": "1",
            "upstream-stream-duration-ms": "1",
            "upstream-alt-stat-name": "spoofed",
            "decorator-operation": "spoofed",
            "external-address": "203.0.113.1",
            "internal": "true",
            "expected-rq-timeout-ms": "1",
            "force-trace": "true",
            "hedge-on-per-try-timeout": "true",
            "ip-tags": "spoofed",
            "downstream-service-cluster": "spoofed",
        }.items()
    },
}
OWN = {
    "x-tertium-deployment": "team/{name}",
    "x-envoy-attempt-count": "1",
    "x-envoy-external-address": "127.0.0.1",
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("spelled", [str.lower, str.upper, str.title])
async def test_a_private_header_of_a_caller_reaches_nobody(stack: Stack, spelled: type[str]) -> None:
    key = await stack.deploy()
    engine = await stack.start_engine()
    await stack.add_replica(key, engine)
    headers = {spelled(name): value for name, value in PRIVATE.items()}
    reply = await stack.send(json.dumps({"model": key.name}), headers=headers)
    assert (reply.status, reply.json["by"]) == (200, engine.ip)
    seen = {name.lower(): value for name, value in engine.requests[0].items()}
    private = {name: value for name, value in seen.items() if name.startswith(("x-tertium", "x-envoy"))}
    assert private == {name: value.format(name=key.name) for name, value in OWN.items()}
    assert not [name for name in reply.headers if name.startswith(("x-envoy", "x-tertium"))]


@pytest.mark.asyncio(loop_scope="module")
async def test_nobody_can_be_released_or_explained_by_a_header(stack: Stack) -> None:
    key = await stack.deploy(coldStart={"mode": "Reject"})
    for sent in (PRIVATE, {"x-tertium-deployment": str(key)}, {"x-tertium-problem": "model_unknown"}):
        reply = await stack.send('{"model": "nobody"}', headers=dict(sent))
        assert (reply.status, reply.error["message"]) == (
            404,
            "The model 'nobody' does not exist. GET /v1/models lists those that do.",
        )


@pytest.mark.parametrize(
    ("hops", "said", "believed"),
    [
        pytest.param(0, "203.0.113.7", "127.0.0.1", id="no proxy: the peer"),
        pytest.param(1, "203.0.113.7", "203.0.113.7", id="one proxy: whom it saw"),
        pytest.param(
            1, "198.51.100.1, 203.0.113.7", "203.0.113.7", id="one proxy: not what the caller told it"
        ),
        pytest.param(2, "198.51.100.1, 203.0.113.7", "198.51.100.1", id="two proxies: whom the first saw"),
    ],
)
async def test_the_address_of_a_caller_is_the_last_one_that_is_trusted(
    tmp_path: Path, hops: int, said: str, believed: str
) -> None:
    async with running_stack(tmp_path, trusted_hops=hops) as stack:
        key = await stack.deploy()
        engine = await stack.start_engine()
        await stack.add_replica(key, engine)
        headers = {"X-Forwarded-For": said, "x-envoy-max-retries": "9", "x-envoy-upstream-rq-timeout-ms": "1"}
        assert (await stack.send(json.dumps({"model": key.name}), headers=headers)).status == 200
        assert engine.requests[0]["x-envoy-external-address"] == believed
        assert "x-envoy-max-retries" not in engine.requests[0]
    lines = (tmp_path / "envoy.log").read_text().splitlines()
    (entry,) = [json.loads(line) for line in lines if '"event":"request"' in line]
    assert entry["client"] == believed

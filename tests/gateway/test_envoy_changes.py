"""What callers notice while deployments come and go and while the parts of a gateway pod restart: nothing."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from pathlib import Path

import pytest

from tertium.api.meta import ObjectKey
from tertium.kube.cluster import LLM_DEPLOYMENT, POD
from tertium.render.envoy.layout import BACKUP_FILE
from tests.gateway.parts import a_deployment, a_pod
from tests.gateway.stack import Stack, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

_numbers = itertools.count(1)


def a_new_one() -> ObjectKey:
    return ObjectKey("team", f"new-{next(_numbers)}")


async def test_the_first_request_to_a_new_deployment_is_answered(stack: Stack) -> None:
    engine = await stack.start_engine()
    for size in (0, 20_000_000):
        key = a_new_one()
        stack.cluster.put(LLM_DEPLOYMENT, a_deployment(key.name))
        stack.cluster.put(POD, a_pod(key, ip=engine.ip, ready=True))
        await until(lambda key=key: key in stack.gateway.world.table.models)
        reply = await stack.send(
            json.dumps({"model": key.name, "pad": "a" * size}), path="/v1/completions?a=b"
        )
        assert (reply.status, reply.json["by"], reply.json["path"]) == (200, engine.ip, "/v1/completions")
        seen = {name.lower(): value for name, value in engine.requests[-1].items()}
        left = {"x-tertium-problem", "x-tertium-model", "x-tertium-lookups", "x-envoy-original-url"}
        assert not left & seen.keys()


async def test_requests_meet_no_gap_while_deployments_come_and_go(stack: Stack) -> None:
    engine = await stack.start_engine()
    seen: Counter[str] = Counter()

    async def live(key: ObjectKey) -> None:
        for _ in range(4):
            stack.cluster.put(LLM_DEPLOYMENT, a_deployment(key.name))
            stack.cluster.put(POD, a_pod(key, name=key.name, ip=engine.ip, ready=True))
            await until(lambda: key in stack.gateway.world.table.models)
            for _ in range(5):
                reply = await stack.ask(str(key))
                seen["200" if reply.status == 200 else reply.text] += 1
            stack.cluster.remove(LLM_DEPLOYMENT, key)
            stack.cluster.remove(POD, key)
            await until(lambda: key not in stack.gateway.world.table.models)
            reply = await stack.ask(str(key))
            seen["200" if reply.status == 200 else reply.error["code"]] += 1

    await asyncio.gather(*(live(a_new_one()) for _ in range(10)))
    assert seen["200"] >= 200
    assert not seen.keys() - {"200", "model_not_found"}


async def test_a_restarted_activator_that_knows_nothing_yet_leaves_envoy_as_it_is(stack: Stack) -> None:
    key = await stack.deploy()
    engine = await stack.start_engine()
    await stack.add_replica(key, engine)
    await stack.stop_activator()
    assert (await stack.ask(key.name)).status == 200
    stack.cluster.answers.clear()
    await stack.start_activator()
    await until(lambda: stack.gateway.publisher.connected)
    assert (await stack.ask(key.name)).status == 200
    stack.cluster.answers.set()
    await until(lambda: stack.gateway.publisher.settled)
    successor = await stack.start_engine()
    await stack.add_replica(key, successor)
    await engine.stop()
    assert (await stack.ask(key.name)).json["by"] == successor.ip


async def test_an_envoy_that_restarts_gets_everything_again(stack: Stack) -> None:
    key = await stack.deploy()
    engine = await stack.start_engine()
    await stack.add_replica(key, engine)
    await stack.stop_envoy()
    await until(lambda: not stack.gateway.publisher.connected)
    await stack.start_envoy()
    await until(lambda: stack.gateway.publisher.configured)
    assert (await stack.ask(key.name)).json["by"] == engine.ip


async def test_when_all_restart_while_the_api_server_is_down_what_was_awake_is_served(stack: Stack) -> None:
    key, asleep = await stack.deploy(), await stack.deploy()
    engine = await stack.start_engine()
    await stack.add_replica(key, engine)
    backup = Path(stack.layout.path(BACKUP_FILE))
    await until(lambda: engine.ip in text_of(backup))
    await stack.stop_activator()
    await stack.stop_envoy()
    stack.cluster.answers.clear()
    await stack.start_activator()
    await stack.start_envoy()
    await until(lambda: stack.gateway.publisher.configured)
    reply = await stack.ask(key.name)
    assert (reply.status, reply.text[:200]) == (200, reply.text[:200])
    assert reply.json["by"] == engine.ip
    reply = await stack.ask(asleep.name)
    assert (reply.status, reply.error["code"]) == (503, "gateway_starting")
    stack.cluster.answers.set()
    await until(lambda: stack.gateway.world.synced and stack.gateway.publisher.settled)
    assert (await stack.ask(key.name)).json["by"] == engine.ip


def text_of(path: Path) -> str:
    return path.read_text() if path.exists() else ""


async def test_a_slow_caller_of_a_deployment_that_is_deleted_meanwhile_is_told_so(stack: Stack) -> None:
    key = await stack.deploy()
    body = json.dumps({"model": key.name}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.layout.listen_port)
    head = "POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode() + body[:5])
    await until_in_envoy(stack)
    stack.cluster.remove(LLM_DEPLOYMENT, key)
    await until(lambda: key not in stack.gateway.world.table.models)
    await stack.settled()
    writer.write(body[5:])
    answer = (await reader.read()).decode()
    writer.close()
    assert answer.startswith("HTTP/1.1 404 ")
    assert f"The model '{key}' does not exist." in answer


async def until_in_envoy(stack: Stack) -> None:
    """Wait until Envoy has a request."""
    async with asyncio.timeout(5):
        while not await stack.gateway.admin.running():  # noqa: ASYNC110 - Envoy sends no event
            await asyncio.sleep(0.01)

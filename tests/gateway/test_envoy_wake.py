"""The whole hold-and-replay path through the real Envoy."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime

import aiohttp
import pytest

from tertium.api.load import LoadReport
from tertium.core import names
from tertium.core.errors import Retryable
from tertium.gateway.counters import Calls
from tertium.kube.cluster import LLM_DEPLOYMENT, POD
from tertium.render.envoy.layout import RELEASED
from tests.gateway.parts import a_condition, a_deployment, a_pod
from tests.gateway.stack import Stack, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_held_request_is_answered_by_the_engine_it_woke(stack: Stack) -> None:
    key = await stack.deploy()
    asked = asyncio.create_task(stack.ask(key.name))
    await stack.until_held(key, 1)
    await until(lambda: stack.cluster.renewals)
    assert stack.cluster.renewals[-1].name == names.demand_lease(key)

    engine = await stack.start_engine(healthy=False)
    await stack.add_replica(key, engine, ready=False)
    assert not asked.done()
    engine.healthy = True
    reply = await asked
    assert (reply.status, reply.json["by"], reply.json["model"]) == (200, engine.ip, key.name)
    assert engine.requests[0]["x-tertium-deployment"] == str(key)


async def test_the_status_that_releases_a_request_is_shown_to_nobody(stack: Stack) -> None:
    key, engine = await stack.deploy(), await stack.start_engine()
    engine.fails_with = (RELEASED, {"error": {"message": "an engine may not say so either"}})
    await stack.add_replica(key, engine)
    reply = await stack.ask(key.name)
    assert reply.status == 503


async def test_a_held_stream_arrives_chunk_by_chunk_and_outlives_its_replica(stack: Stack) -> None:
    key = await stack.deploy()
    engine = await stack.start_engine()
    body = json.dumps({"model": str(key), "stream": True})
    headers = {"Content-Type": "application/json"}

    async def open_stream() -> aiohttp.ClientResponse:
        return await stack.session.post(f"{stack.url}/v1/completions", data=body, headers=headers)

    opening = asyncio.create_task(open_stream())
    await stack.until_held(key, 1)
    pod = await stack.add_replica(key, engine, ready=False)
    async with await opening as answer:
        assert answer.status == 200
        assert await answer.content.readline() == b'data: {"n": 1}\n'
        stack.cluster.put(POD, a_pod(key, name=pod, ip=engine.ip, leaving=True))
        await until(lambda: not stack.gateway.world.addresses(key))
        await stack.settled()
        engine.go_on.set()
        assert (await answer.content.read()).endswith(b"data: [DONE]\n\n")


async def test_200_requests_held_at_once_are_all_answered_and_state_demand_once(stack: Stack) -> None:
    key = await stack.deploy()
    before = len(stack.cluster.renewals)
    asked = [asyncio.create_task(stack.ask(key.name)) for _ in range(200)]
    await stack.until_held(key, 200)
    assert len(stack.cluster.renewals) == before + 1
    for _ in range(2):
        await stack.add_replica(key, await stack.start_engine(), ready=False)
    replies = await asyncio.gather(*asked)
    assert [reply.status for reply in replies] == [200] * 200


async def test_a_large_body_is_held_and_replayed_whole(stack: Stack) -> None:
    key = await stack.deploy()
    body = json.dumps({"model": key.name, "pad": "a" * 20_000_000})
    asked = asyncio.create_task(stack.send(body))
    await stack.until_held(key, 1)
    engine = await stack.start_engine()
    await stack.add_replica(key, engine, ready=False)
    assert (await asked).status == 200
    assert engine.requests[0]["Content-Length"] == str(len(body))


async def test_a_request_held_for_hold_seconds_is_told_how_far_the_start_is(stack: Stack) -> None:
    cold_start = {"holdSeconds": 1}
    key = await stack.deploy(coldStart=cold_start)
    asked = asyncio.create_task(stack.ask(key.name))
    await stack.until_held(key, 1)
    waiting = a_condition("Progressing", "True", "WaitingForGPU", "no node has 2 free GPUs")
    said_since = a_deployment(key.name, coldStart=cold_start, conditions=(waiting,), starts=(42,))
    stack.cluster.put(LLM_DEPLOYMENT, said_since)
    reply = await asked
    assert reply.status == 503
    assert reply.error == {
        "message": f"The model '{key}' was still starting after 1 s (WaitingForGPU: no node has 2 free GPUs)."
        " Try again later.",
        "type": "server_error",
        "param": None,
        "code": "model_starting",
    }
    assert reply.headers["retry-after"] == "42"


async def test_a_caller_of_a_model_that_rejects_is_told_at_once_when_to_come_back(stack: Stack) -> None:
    key = await stack.deploy(coldStart={"mode": "Reject"}, starts=(42,))
    before = len(stack.cluster.renewals)
    replies = await asyncio.gather(*(stack.ask(key.name) for _ in range(20)))
    assert len(stack.cluster.renewals) == before + 1
    for reply in replies:
        assert (reply.status, reply.headers["retry-after"], reply.headers["x-should-retry"]) == (
            503,
            "42",
            "true",
        )
        assert reply.error == {
            "message": f"The model '{key}' is starting. Try again in 42 s.",
            "type": "server_error",
            "param": None,
            "code": "model_starting",
            "eta_seconds": 42,
            "phase": "waking",
        }
    await stack.add_replica(key, await stack.start_engine())
    assert (await stack.ask(key.name)).status == 200


async def test_while_demand_cannot_be_stated_a_rejected_caller_learns_why(stack: Stack) -> None:
    key = await stack.deploy(coldStart={"mode": "Reject"})
    stack.cluster.fault = Retryable("renew Lease: the API server did not answer")
    reply = await stack.ask(key.name)
    stack.cluster.fault = None
    assert reply.error["message"] == (
        f"The model '{key}' is starting; its start could not be asked for: "
        "renew Lease: the API server did not answer. Try again in 30 s."
    )
    before = len(stack.cluster.renewals)
    await stack.ask(key.name)
    assert len(stack.cluster.renewals) == before + 1


async def test_the_load_report_counts_the_streams_of_each_replica(stack: Stack) -> None:
    key = await stack.deploy()
    engines = [await stack.start_engine() for _ in range(2)]
    for engine in engines:
        await stack.add_replica(key, engine)
    asked = [asyncio.create_task(stack.ask(key.name, stream=True)) for _ in range(6)]
    await until(lambda: sum(len(engine.requests) for engine in engines) == 6)
    seen = (await stack.gateway.admin.requests())[str(key)]
    running = {engine.ip: Calls(active=len(engine.requests)) for engine in engines}
    assert seen.by_address == running
    assert seen.active == 6
    for engine in engines:
        engine.go_on.set()
    await asyncio.gather(*asked)


async def test_while_demand_cannot_be_stated_requests_stay_held_and_learn_why(
    stack: Stack,
) -> None:
    key = await stack.deploy(coldStart={"holdSeconds": 1})
    stack.cluster.fault = Retryable("renew Lease: the API server did not answer")
    reply = await stack.ask(key.name)
    stack.cluster.fault = None
    assert reply.error["message"] == (
        f"The model '{key}' was still starting after 1 s; its start could not be asked for: "
        "renew Lease: the API server did not answer. Try again later."
    )


async def test_one_more_than_max_pending_is_refused_at_once(stack: Stack) -> None:
    key = await stack.deploy(coldStart={"maxPending": 1, "holdSeconds": 1})
    first = asyncio.create_task(stack.ask(key.name))
    await stack.until_held(key, 1)
    reply = await stack.ask(key.name)
    assert (reply.status, reply.error["code"], reply.headers["retry-after"]) == (
        429,
        "too_many_pending",
        "30",
    )
    assert reply.error["message"].startswith(f"1 requests already wait for the model '{key}' to start")
    await first


async def test_a_caller_who_hangs_up_frees_its_place_and_demand_ends(stack: Stack) -> None:
    key = await stack.deploy()
    for body in ("{}", json.dumps({"pad": "a" * 5_000_000})):
        asked = asyncio.create_task(stack.send(json.dumps({"model": key.name, **json.loads(body)})))
        await stack.until_held(key, 1)
        asked.cancel()
        await stack.until_held(key, 0)
    assert key not in stack.gateway.holds._efforts


async def test_a_start_that_fails_frees_its_waiters_and_refuses_new_requests(stack: Stack) -> None:
    key = await stack.deploy()
    asked = asyncio.create_task(stack.ask(key.name))
    await stack.until_held(key, 1)
    failed = a_condition("Active", "False", "StartFailed", "ValueError: no KV cache blocks")
    stack.cluster.put(LLM_DEPLOYMENT, a_deployment(key.name, conditions=(failed,)))
    for reply in (await asked, await stack.ask(str(key))):
        assert (reply.status, reply.error["code"]) == (503, "model_unavailable")
        assert reply.error["message"] == (
            f"The model '{key}' cannot be started (StartFailed): ValueError: no KV cache blocks"
        )
    stack.cluster.put(LLM_DEPLOYMENT, a_deployment(key.name))
    await until(lambda: stack.gateway.world.table.models[key].refusal is None)


async def test_a_deleted_deployment_frees_its_waiters(stack: Stack) -> None:
    key = await stack.deploy()
    asked = asyncio.create_task(stack.ask(key.name))
    await stack.until_held(key, 1)
    stack.cluster.remove(LLM_DEPLOYMENT, key)
    reply = await asked
    assert (reply.status, reply.error["code"]) == (404, "model_not_found")


async def test_a_replica_that_died_unseen_is_left_out_and_the_request_held(stack: Stack) -> None:
    key = await stack.deploy()
    engine = await stack.start_engine()
    await stack.add_replica(key, engine)
    assert (await stack.ask(key.name)).status == 200
    await engine.stop()
    asked = asyncio.create_task(stack.ask(key.name))
    await stack.until_held(key, 1)
    assert stack.gateway.world.addresses(key) == ()
    successor = await stack.start_engine()
    await stack.add_replica(key, successor)
    assert (await asked).json["by"] == successor.ip


async def test_the_load_report_counts_what_runs_and_what_is_held(stack: Stack) -> None:
    key = await stack.deploy()

    async def load() -> LoadReport:
        async with stack.session.get(f"http://127.0.0.1:{stack.report_port}/load") as answer:
            assert answer.status == 200
            return LoadReport.model_validate_json(await answer.text())

    assert (await load()).models[str(key)].last_finished is None
    asked = asyncio.create_task(stack.ask(key.name, stream=True))
    await stack.until_held(key, 1)
    held = (await load()).models[str(key)]
    assert (held.in_flight, held.held) == (1, 1)
    engine = await stack.start_engine()
    await stack.add_replica(key, engine)
    await until(lambda: engine.requests)
    running = (await load()).models[str(key)]
    assert (running.in_flight, running.held) == (1, 0)
    engine.go_on.set()
    await asked
    await until(lambda: stack.gateway.holds.waiters.count(key) == 0)
    after = (await load()).models[str(key)]
    assert after.in_flight == 0
    assert isinstance(after.last_finished, datetime)
    assert (await load()).models[str(key)].last_finished == after.last_finished

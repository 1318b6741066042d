"""Held streams through the real Envoy: opened where the wait is long, kept alive, then the model's own."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tertium.api.load import LoadReport
from tertium.api.meta import ObjectKey
from tertium.gateway import streams
from tertium.kube.cluster import LLM_DEPLOYMENT, POD
from tests.gateway.parts import a_condition, a_deployment, a_pod
from tests.gateway.stack import Stack, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

SLOW: dict[str, Any] = {"starts": (120,), "coldStart": {"heartbeatSeconds": 1}}
FAILED = a_condition("Active", "False", "StartFailed", "ValueError: no KV cache blocks")
WORDS = "cannot be started (StartFailed): ValueError: no KV cache blocks"


@asynccontextmanager
async def opened(
    stack: Stack, key: ObjectKey, *, path: str = "/v1/chat/completions", **body: Any
) -> AsyncIterator[aiohttp.ClientResponse]:
    """Ask for a stream; the block begins when the answer does."""
    sent = {"model": str(key), "stream": True, **body}
    async with stack.session.post(stack.url + path, json=sent) as answer:
        yield answer


async def first_sign(answer: aiohttp.ClientResponse) -> str:
    """The first sign of life of a stream that was opened early."""
    assert (answer.status, answer.content_type) == (200, "text/event-stream")
    line = (await answer.content.readline()).decode()
    assert await answer.content.readline() == b"\n"
    return line.strip()


async def fail_start(stack: Stack, key: ObjectKey) -> None:
    stack.cluster.put(LLM_DEPLOYMENT, a_deployment(key.name, conditions=(FAILED,), **SLOW))


async def test_a_stream_with_a_long_wait_is_opened_kept_alive_and_then_the_model_s(stack: Stack) -> None:
    key = await stack.deploy(**SLOW)
    pad = "\u00e4 \U0001f600 " * 5000
    async with opened(stack, key, pad=pad, seed=1234567890123456789) as answer:
        sign = await first_sign(answer)
        assert re.fullmatch(f": model={key} phase=waking eta_seconds=120 waited_seconds=[0-9]+", sign)
        waiting = a_condition("Progressing", "True", "WaitingForGPU", 'none\r\ndata: free\n\nof "any"')
        stack.cluster.put(LLM_DEPLOYMENT, a_deployment(key.name, conditions=(waiting,), **SLOW))
        while " detail=" not in sign:
            sign = await first_sign(answer)
        assert sign.endswith(" detail=\"WaitingForGPU: none data: free of 'any'\"")
        engine = await stack.start_engine()
        await stack.add_replica(key, engine, ready=False)
        rest = b""
        while b"data:" not in rest:
            rest += await answer.content.readline()
        assert stack.gateway.streams._room.left == 128 * 1024 * 1024, "what was sent is kept no longer"
        assert re.fullmatch(rb'(: model=.*\n\n)?data: {"n": 1}\n', rest)
        engine.go_on.set()
        assert await answer.content.read() == b'\ndata: {"n": 2}\n\ndata: [DONE]\n\n'
    sent = json.dumps({"model": str(key), "stream": True, "pad": pad, "seed": 1234567890123456789})
    assert engine.bodies == [sent.encode()], "the body is the caller's, byte by byte"
    seen = {name.lower(): value for name, value in engine.requests[0].items()}
    assert seen["x-tertium-deployment"] == str(key)
    assert seen["content-type"] == "application/json"
    assert seen["x-request-id"] == answer.headers["x-request-id"]
    assert not {"accept-encoding", "transfer-encoding"} & seen.keys()


@pytest.mark.parametrize(
    ("path", "events"),
    [
        pytest.param("/v1/chat/completions", 1, id="a chat: a chunk without a word"),
        pytest.param("/v1/completions", 0, id="any other API: comments alone"),
    ],
)
async def test_a_very_long_wait_has_an_event_that_says_nothing(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, path: str, events: int
) -> None:
    monkeypatch.setattr(streams, "EVENT_SECONDS", 1.5)
    key = await stack.deploy(**SLOW)
    async with opened(stack, key, path=path) as answer:
        signs = [(await answer.content.readuntil(b"\n\n")).decode() for _ in range(3 + events)]
    found = [json.loads(sign[6:]) for sign in signs if sign.startswith("data: ")]
    assert len(found) == events
    for chunk in found:
        assert (chunk["object"], chunk["model"]) == ("chat.completion.chunk", str(key))
        assert chunk["choices"] == [
            {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
        ]


async def test_a_stream_with_a_short_wait_is_answered_by_the_model_alone(stack: Stack) -> None:
    key = await stack.deploy(starts=(40,))
    asking = asyncio.create_task(stack.ask(str(key), stream=True))
    await stack.until_held(key, 1)
    await asyncio.sleep(1.5)
    engine = await stack.start_engine()
    engine.fails_with = (400, {"error": {"message": "too long"}})
    await stack.add_replica(key, engine, ready=False)
    reply = await asking
    assert (reply.status, reply.error) == (400, {"message": "too long"})


async def test_an_answer_that_is_no_stream_is_not_opened_however_long_the_wait(stack: Stack) -> None:
    key = await stack.deploy(**SLOW)
    plain = asyncio.create_task(stack.ask(str(key)))
    embedding = asyncio.create_task(
        stack.send(json.dumps({"model": str(key), "stream": True}), path="/v1/embeddings")
    )
    await stack.until_held(key, 2)
    await asyncio.sleep(1.5)
    await fail_start(stack, key)
    for reply in await asyncio.gather(plain, embedding):
        assert reply.status == 503
        assert reply.error["message"].endswith(WORDS)


async def test_what_is_known_at_once_has_a_status_of_its_own(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_FIRST_SECONDS", 20)
    key = await stack.deploy(starts=(120,), coldStart={"mode": "Reject"})
    async with opened(stack, key) as answer:
        assert answer.status == 503
    failed = await stack.deploy(conditions=(FAILED,), **SLOW)
    async with opened(stack, failed) as answer:
        assert answer.status == 503


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param(
            "/v1/chat/completions",
            'data: {"error": {"message": "MESSAGE", "type": "server_error", "param": "model", "code": '
            '"model_unavailable"}}\n\ndata: [DONE]\n\n',
            id="chat",
        ),
        pytest.param(
            "/v1/responses",
            'event: error\ndata: {"type": "error", "sequence_number": 0, "code": "model_unavailable", '
            '"message": "MESSAGE", "param": "model"}\n\n',
            id="responses",
        ),
        pytest.param(
            "/v1/messages",
            'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error", "message": '
            '"MESSAGE"}}\n\n',
            id="Anthropic's messages",
        ),
    ],
)
async def test_a_start_that_fails_is_told_within_the_stream_in_the_api_s_own_words(
    stack: Stack, path: str, expected: str
) -> None:
    key = await stack.deploy(**SLOW)
    async with opened(stack, key, path=path) as answer:
        await first_sign(answer)
        await fail_start(stack, key)
        text = (await answer.content.read()).decode()
    events = re.sub(r"^: .*\n\n", "", text)
    assert events == expected.replace("MESSAGE", f"The model '{key}' {WORDS}")


async def test_an_engine_that_refuses_the_request_is_quoted_within_the_stream(stack: Stack) -> None:
    key = await stack.deploy(**SLOW)
    engine = await stack.start_engine()
    refusal = {"message": "max_tokens is too large", "type": "BadRequestError", "param": None, "code": 400}
    engine.fails_with = (400, {"error": refusal})
    async with opened(stack, key) as answer:
        await first_sign(answer)
        await stack.add_replica(key, engine, ready=False)
        text = (await answer.content.read()).decode()
    assert text.endswith(f"data: {json.dumps({'error': refusal})}\n\ndata: [DONE]\n\n")


async def test_an_engine_that_dies_within_its_answer_is_told(stack: Stack) -> None:
    key = await stack.deploy(**SLOW)
    engine = await stack.start_engine()
    async with opened(stack, key) as answer:
        await first_sign(answer)
        await stack.add_replica(key, engine, ready=False)
        while await answer.content.readline() != b'data: {"n": 1}\n':
            continue
        engine.break_off = True
        engine.go_on.set()
        text = (await answer.content.read()).decode()
    assert '"The model\'s answer broke off."' in text
    assert text.endswith("data: [DONE]\n\n")


async def test_a_caller_who_leaves_a_stream_that_is_sent_on_ends_it_at_the_engine(stack: Stack) -> None:
    key = await stack.deploy(**SLOW)
    engine = await stack.start_engine()
    report = f"http://127.0.0.1:{stack.report_port}/load"
    async with opened(stack, key) as answer:
        await first_sign(answer)
        await stack.add_replica(key, engine, ready=False)
        while await answer.content.readline() != b'data: {"n": 1}\n':
            continue
        async with stack.session.get(report) as said:
            load = LoadReport.model_validate_json(await said.text()).models[str(key)]
        assert (load.in_flight, load.held, load.replicas[engine.ip].active) == (1, 0, 1), "one request is one"
        answer.close()
    await until(lambda: engine.cut == 1)
    await until(lambda: not stack.gateway.streams._resumed)


async def test_a_caller_who_leaves_while_it_is_kept_alive_frees_its_place(stack: Stack) -> None:
    key = await stack.deploy(**SLOW)
    async with opened(stack, key) as answer:
        await first_sign(answer)
        assert stack.gateway.holds.waiters.count(key) == 1
        answer.close()
    await stack.until_held(key, 0)
    assert stack.gateway.streams._room.left == 128 * 1024 * 1024


async def test_a_body_for_which_there_is_no_room_is_held_in_silence_and_sent_by_envoy(stack: Stack) -> None:
    key = await stack.deploy(**SLOW)
    room = stack.gateway.streams._room
    room.left, left = 1000, room.left
    asking = asyncio.create_task(
        stack.send(json.dumps({"model": str(key), "stream": True, "pad": "x" * 200_000}))
    )
    await stack.until_held(key, 1)
    assert room.left == 1000
    await asyncio.sleep(1.5)
    engine = await stack.start_engine()
    engine.go_on.set()
    await stack.add_replica(key, engine, ready=False)
    reply = await asking
    room.left = left
    assert (reply.status, reply.text) == (200, 'data: {"n": 1}\n\ndata: {"n": 2}\n\ndata: [DONE]\n\n')


async def test_a_replica_that_is_gone_again_is_waited_for_once_more(stack: Stack) -> None:
    key = await stack.deploy(**SLOW)
    async with opened(stack, key) as answer:
        await first_sign(answer)
        dead = await stack.start_engine()
        stack.cluster.put(POD, a_pod(key, name="dead", ip=dead.ip, ready=True))
        await dead.stop()
        await until(lambda: stack.gateway.streams._resumed[key] == 1)
        await stack.until_held(key, 1)
        engine = await stack.start_engine()
        engine.go_on.set()
        await stack.add_replica(key, engine, ready=False)
        assert (await answer.content.read()).endswith(b"data: [DONE]\n\n")
    assert len(engine.requests) == 1

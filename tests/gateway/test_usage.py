"""Tokens as the real Envoy reads them from answers, in every API's shape and however the bytes arrive."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tertium.api.load import LoadReport, ModelLoad
from tertium.api.meta import ObjectKey
from tertium.kube.cluster import LLM_DEPLOYMENT
from tests.gateway.parts import Engine, a_deployment
from tests.gateway.stack import Stack, running_stack, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON = "application/json"
SSE = "text/event-stream; charset=utf-8"


def whole(**usage: Any) -> tuple[bytes, ...]:
    return (json.dumps({"id": "x", "choices": [], "usage": usage}).encode(),)


def events(*bodies: Any) -> tuple[bytes, ...]:
    return tuple(f"data: {json.dumps(body)}\n\n".encode() for body in bodies)


def in_pieces(content: tuple[bytes, ...], size: int) -> tuple[bytes, ...]:
    joined = b"".join(content)
    return tuple(joined[at : at + size] for at in range(0, len(joined), size))


DETAILS = {"cached_tokens": 3}
CHAT = whole(prompt_tokens=11, total_tokens=16, completion_tokens=5, prompt_tokens_details=DETAILS)
CHAT_STREAM = (
    *events({"choices": [{"delta": {"content": "hi"}}], "usage": None}),
    *events({"choices": [], "usage": {"prompt_tokens": 11, "total_tokens": 16, "completion_tokens": 5}}),
    b"data: [DONE]\n\n",
)
FORGED = 'say "usage":{"prompt_tokens":900,"completion_tokens":900}'
"""What a model may write; within JSON its quotation marks are escaped."""


@pytest.mark.parametrize(
    ("kind", "pieces", "tokens"),
    [
        pytest.param(JSON, CHAT, (11, 5), id="chat and completions"),
        pytest.param(JSON, whole(prompt_tokens=8, total_tokens=8, completion_tokens=0), (8, 0), id="embed"),
        pytest.param(JSON, whole(prompt_tokens=8, total_tokens=8), (8, 0), id="rerank: no completion"),
        pytest.param(
            JSON,
            whole(input_tokens=7, input_tokens_details=DETAILS, output_tokens=4, total_tokens=11),
            (7, 4),
            id="responses and messages",
        ),
        pytest.param(JSON, in_pieces(CHAT, 7), (11, 5), id="an answer that comes in pieces of 7 bytes"),
        pytest.param(JSON, (b'{\n  "usage" : {\n "prompt_tokens" : 2 }\n}',), (2, 0), id="any white space"),
        pytest.param(
            JSON, (b'{"pad": "%s", ' % (b"x" * 3_000_000), CHAT[0][1:]), (11, 5), id="after three megabytes"
        ),
        pytest.param(SSE, CHAT_STREAM, (11, 5), id="a stream that tells it in its last chunk"),
        pytest.param(SSE, in_pieces(CHAT_STREAM, 5), (11, 5), id="a stream in pieces of 5 bytes"),
        pytest.param(
            SSE,
            (
                b'data: {"usage": null, "x": "%s"}\n\ndata: {"usa' % (b"y" * 5000),
                b'ge": {"input_tokens": 4}}\n\n',
            ),
            (4, 0),
            id="a null long before an object that is cut in two",
        ),
        pytest.param(
            SSE,
            events(*({"usage": {"prompt_tokens": 11, "completion_tokens": n}} for n in (1, 2, 3))),
            (11, 3),
            id="a stream that tells it with every chunk: the last counts",
        ),
        pytest.param(
            SSE,
            events(
                {"type": "message_start", "message": {"usage": {"input_tokens": 20, "output_tokens": 1}}},
                {"type": "content_block_delta", "delta": {"text": "hi"}},
                {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 6}},
            ),
            (20, 6),
            id="a stream of messages: prompt at the start, the rest at the end",
        ),
        pytest.param(
            SSE,
            events(
                {"type": "response.created", "response": {"usage": None}},
                {"type": "response.output_text.delta", "delta": "hi"},
                {
                    "type": "response.completed",
                    "response": {
                        "output": ["x" * 100_000],
                        "usage": {"input_tokens": 9, "output_tokens": 3, "total_tokens": 12},
                    },
                },
            ),
            (9, 3),
            id="a stream of responses: in its last, large event",
        ),
        pytest.param(
            JSON,
            (json.dumps({"text": FORGED, "usage": {"prompt_tokens": 1, "completion_tokens": 2}}).encode(),),
            (1, 2),
            id="what the model wrote is no usage",
        ),
    ],
)
async def test_tokens_are_counted(
    stack: Stack, kind: str, pieces: tuple[bytes, ...], tokens: tuple[int, int]
) -> None:
    key, engine = await serving(stack)
    engine.says = (kind, pieces)
    answer = await stack.ask(key.name)
    assert (answer.status, answer.text) == (200, b"".join(pieces).decode())
    model = await load(stack, key)
    assert (model.prompt_tokens, model.completion_tokens) == tokens
    assert (model.requests, model.unmetered_requests) == (1, 0)
    assert model.replicas[engine.ip].finished == 1


@pytest.mark.parametrize(
    ("kind", "pieces"),
    [
        pytest.param(SSE, (*events({"choices": [], "usage": None}), b"data: [DONE]\n\n"), id="nobody asked"),
        pytest.param(JSON, (json.dumps({"text": FORGED}).encode(),), id="it is only in what the model wrote"),
        pytest.param(JSON, whole(type="duration", seconds=3), id="it is told in seconds"),
        pytest.param(JSON, (b'{"usage": {"prompt_tokens": 5',), id="it is cut off"),
        pytest.param("audio/wav", (b"\x00\x01",), id="the answer is no text"),
        pytest.param(JSON, (b'{"usage": {"x": "%s"' % (b"y" * 9000), b"}}"), id="it is longer than any"),
    ],
)
async def test_an_answer_without_usage_is_counted_without_tokens(
    stack: Stack, kind: str, pieces: tuple[bytes, ...]
) -> None:
    key, engine = await serving(stack)
    engine.says = (kind, pieces)
    await stack.send(json.dumps({"model": key.name}), path="/v1/chat/completions")
    model = await load(stack, key)
    assert (model.requests, model.unmetered_requests) == (1, 1)
    assert (model.prompt_tokens, model.completion_tokens) == (0, 0)


async def test_errors_and_what_the_activator_answers_are_no_answers(stack: Stack) -> None:
    key = await stack.deploy(coldStart={"mode": "Reject"})
    assert (await stack.ask(key.name)).status == 503
    assert (await stack.ask("nobody")).status == 404
    assert (await stack.send("", method="GET", path="/v1/models")).status == 200
    assert (await load(stack, key)).requests == 0


async def test_a_held_request_is_counted_once(stack: Stack) -> None:
    key = await stack.deploy()
    asked = asyncio.create_task(stack.ask(key.name))
    await stack.until_held(key, 1)
    engine = await stack.start_engine()
    engine.says = (JSON, CHAT)
    await stack.add_replica(key, engine)
    assert (await asked).status == 200
    model = await load(stack, key)
    assert (model.requests, model.prompt_tokens, model.completion_tokens) == (1, 11, 5)


async def test_a_deployment_made_anew_does_not_inherit_tokens(stack: Stack) -> None:
    manifest = a_deployment("again")
    manifest["metadata"]["uid"] = "first"
    stack.cluster.put(LLM_DEPLOYMENT, manifest)
    key = ObjectKey("team", "again")
    await until(lambda: key in stack.gateway.world.table.models)
    await stack.settled()
    engine = await stack.start_engine()
    engine.says = (JSON, CHAT)
    await stack.add_replica(key, engine)
    await stack.ask(key.name)
    assert (await load(stack, key)).requests == 1
    stack.cluster.remove(LLM_DEPLOYMENT, key)
    manifest = a_deployment("again")
    manifest["metadata"]["uid"] = "second"
    stack.cluster.put(LLM_DEPLOYMENT, manifest)
    await until(lambda: stack.gateway.world.table.models[key].uid == "second")
    model = await load(stack, key)
    assert (model.uid, model.requests, model.prompt_tokens) == ("second", 0, 0)


async def test_prometheus_sees_deployment_and_key(stack: Stack) -> None:
    key, engine = await serving(stack)
    engine.says = (JSON, CHAT)
    await stack.ask(key.name)
    await load(stack, key)
    async with stack.session.get(f"http://127.0.0.1:{stack.report_port}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    labels = f'deployment="{key.name}",key="",namespace="{key.namespace}"'
    assert f"tertium_gateway_prompt_tokens_total{{{labels}}} 11.0" in lines
    assert f"tertium_gateway_metered_answers_total{{{labels}}} 1.0" in lines
    assert not [line for line in lines if 'namespace="-"' in line]


async def test_the_epoch_is_that_of_the_envoy_process_and_no_error_is_logged(tmp_path: Path) -> None:
    async with running_stack(tmp_path) as stack:
        key, engine = await serving(stack)
        for pieces in (CHAT, whole(), (b"no json",)):
            engine.says = (JSON, pieces)
            await stack.ask(key.name)
        await stack.ask("nobody")
        first, second = await asyncio.gather(report(stack), report(stack))
        assert first.epoch == second.epoch != ""
    async with running_stack(tmp_path) as stack:
        assert (await report(stack)).epoch not in ("", first.epoch)
    assert "[error]" not in (tmp_path / "envoy.log").read_text()


async def serving(stack: Stack) -> tuple[ObjectKey, Engine]:
    """A deployment with one replica."""
    key = await stack.deploy()
    engine = await stack.start_engine()
    await stack.add_replica(key, engine)
    return key, engine


async def report(stack: Stack) -> LoadReport:
    async with stack.session.get(f"http://127.0.0.1:{stack.report_port}/load") as answer:
        return LoadReport.model_validate_json(await answer.text())


async def load(stack: Stack, key: ObjectKey) -> ModelLoad:
    """The load once nothing runs: Envoy counts a request when it has ended for it too."""
    async with asyncio.timeout(5):
        while (model := (await report(stack)).models[str(key)]).in_flight:  # noqa: ASYNC110 - Envoy
            await asyncio.sleep(0.01)
    return model

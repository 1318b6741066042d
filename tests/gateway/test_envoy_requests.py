"""Every kind of request the engine serves finds its model: paths, protocols, forms, prefixes."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import aiohttp
import pytest

from tertium.api.meta import ObjectKey
from tertium.kube.cluster import LLM_DEPLOYMENT
from tests.gateway.parts import Engine, a_deployment
from tests.gateway.stack import Reply, Stack, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

SPEECH = "/v1/audio/transcriptions"
EDGE = "x" * 70


async def a_served_model(stack: Stack, engines: int = 1, **spec: object) -> tuple[ObjectKey, list[Engine]]:
    key = await stack.deploy(**spec)
    started = [await stack.start_engine() for _ in range(engines)]
    for engine in started:
        await stack.add_replica(key, engine)
    return key, started


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/messages"),
        *("/v1/messages/count_tokens", "/v1/rerank", "/v1/score", "/v2/rerank", "/v2/embed", "/rerank"),
        *("/score", "/classify", "/pooling", "/tokenize", "/detokenize", "/invocations"),
        *("/inference/v1/generate", "/tokenize?x=1"),
    ],
)
async def test_what_the_engine_serves_is_routed(stack: Stack, path: str) -> None:
    key, _ = await a_served_model(stack)
    reply = await stack.send(json.dumps({"model": key.name}), path=path)
    assert (reply.status, reply.json["path"]) == (200, path.partition("?")[0])


@pytest.mark.parametrize("path", ["/sleep", "/wake_up", "/metrics", "/tokenize/x", "/v1", "/collective_rpc"])
async def test_what_the_engine_keeps_for_its_operator_is_not(stack: Stack, path: str) -> None:
    key, engines = await a_served_model(stack)
    reply = await stack.send(json.dumps({"model": key.name}), path=path)
    assert (reply.status, reply.error["code"]) == (404, "path_not_found")
    assert engines[0].requests == []


@pytest.mark.parametrize("flag", ["--http1.1", "--http2-prior-knowledge"])
async def test_both_protocols_are_spoken(stack: Stack, flag: str) -> None:
    key, _ = await a_served_model(stack)
    process = await asyncio.create_subprocess_exec(
        *("curl", "-s", flag, "-w", " %{http_version} %{http_code}", "-H", "Content-Type: application/json"),
        *("-d", json.dumps({"model": key.name}), f"{stack.url}/v1/completions"),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert output.decode().endswith(f" {'2' if '2' in flag else '1.1'} 200")


def a_form(*fields: tuple[str, str, str], boundary: str = "b", head: str = "Content-Disposition") -> bytes:
    """A form of (name, more of the part's header, value)."""
    parts = (
        f'--{boundary}\r\n{head}: form-data; name="{name}"{more}\r\n\r\n{value}\r\n'
        for name, more, value in fields
    )
    return "".join([*parts, f"--{boundary}--\r\n"]).encode()


async def send_form(
    stack: Stack, body: bytes, content_type: str = "multipart/form-data; boundary=b"
) -> Reply:
    return await stack.send(body, path=SPEECH, headers={"Content-Type": content_type})


AUDIO = ("file", '; filename="a.wav"\r\nContent-Type: audio/wav', "RIFF" * 100)


@pytest.mark.parametrize(
    ("before", "after", "how"),
    [
        pytest.param([], [AUDIO], {}, id="the model first"),
        pytest.param([AUDIO], [], {}, id="the model last"),
        pytest.param(
            [("file", '; filename="model"', "x"), ("x", "", "model")], [], {}, id="look-alikes before"
        ),
        pytest.param([("file", "", "a" * 20_000_000)], [], {}, id="behind 20 MB"),
        pytest.param([("p", "", "a" * n) for n in range(65_440, 65_560, 9)], [], {}, id="across pieces"),
        pytest.param([AUDIO], [], {"boundary": EDGE}, id="the longest boundary"),
        pytest.param([AUDIO], [], {"head": "content-DISPOSITION"}, id="another spelling"),
    ],
)
async def test_the_model_of_a_form_is_found(
    stack: Stack,
    before: list[tuple[str, str, str]],
    after: list[tuple[str, str, str]],
    how: dict[str, str],
) -> None:
    key, _ = await a_served_model(stack)
    body = a_form(*before, ("model", "", str(key)), *after, **how)
    reply = await send_form(stack, body, f'Multipart/Form-Data; Boundary="{how.get("boundary", "b")}"')
    assert (reply.status, reply.json["model"], reply.json["path"]) == (200, str(key), SPEECH)


async def test_a_form_of_a_real_client_wakes_its_model(stack: Stack) -> None:
    key = await stack.deploy()
    form = aiohttp.FormData()
    form.add_field("file", b"\x00\r\n--" * 100_000, filename="a.wav", content_type="audio/wav")
    form.add_field("model", key.name)

    async def ask() -> int:
        async with stack.session.post(f"{stack.url}{SPEECH}", data=form) as answer:
            return answer.status

    asked = asyncio.create_task(ask())
    await stack.until_held(key, 1)
    await stack.add_replica(key, await stack.start_engine())
    assert await asked == 200


@pytest.mark.parametrize(
    ("body", "content_type", "code"),
    [
        pytest.param(a_form(AUDIO), "multipart/form-data; boundary=b", "model_missing", id="no model"),
        pytest.param(b"", "multipart/form-data; boundary=b", "body_not_form", id="empty"),
        pytest.param(a_form(AUDIO), "multipart/form-data", "body_not_form", id="no boundary"),
        pytest.param(
            a_form(AUDIO), "multipart/form-data; boundary=c", "body_not_form", id="another boundary"
        ),
        pytest.param(
            a_form(AUDIO), f"multipart/form-data; boundary={EDGE}x", "body_not_form", id="a boundary too long"
        ),
        pytest.param(a_form(AUDIO)[:40], "multipart/form-data; boundary=b", "body_not_form", id="cut short"),
        pytest.param(
            a_form(*[("p", "", "x")] * 64, ("model", "", "m")),
            "multipart/form-data; boundary=b",
            "body_not_form",
            id="too many parts",
        ),
        pytest.param(
            a_form(("model", "", "m" * 300)),
            "multipart/form-data; boundary=b",
            "body_not_form",
            id="too long",
        ),
        pytest.param(
            a_form(("model", "", "m\r\nx-tertium-deployment: a/b")),
            "multipart/form-data; boundary=b",
            "model_invalid",
            id="a name that would inject a header",
        ),
        pytest.param(
            a_form(("model", "", "nobody")),
            "multipart/form-data; boundary=b",
            "model_not_found",
            id="unknown",
        ),
    ],
)
async def test_a_form_that_names_no_model_is_told_what_is_wrong(
    stack: Stack, body: bytes, content_type: str, code: str
) -> None:
    reply = await send_form(stack, body, content_type)
    assert (reply.status, reply.error["code"]) == (404 if code == "model_not_found" else 400, code)


def a_chat(key: ObjectKey, prefix: str, rest: str = "") -> str:
    messages = [{"role": "user", "content": prefix + rest}]
    return json.dumps({"model": key.name, "stream": True, "messages": messages})


async def asked(stack: Stack, engines: list[Engine], body: str) -> tuple[Engine, asyncio.Task[Reply]]:
    """Send a request that stays; return who got it."""
    before = {id(engine): len(engine.requests) for engine in engines}
    task = asyncio.create_task(stack.send(body))
    async with asyncio.timeout(5):
        while True:
            for engine in engines:
                if len(engine.requests) > before[id(engine)]:
                    return engine, task
            await asyncio.sleep(0.002)


async def test_the_replica_with_the_fewest_requests_is_chosen(stack: Stack) -> None:
    key, engines = await a_served_model(stack, engines=2)
    chosen, tasks = Counter[str](), []
    for _ in range(20):
        engine, task = await asked(stack, engines, a_chat(key, "x"))
        chosen[engine.ip] += 1
        tasks.append(task)
    for engine in engines:
        engine.go_on.set()
    await asyncio.gather(*tasks)
    assert sorted(chosen.values()) == [10, 10]


async def test_requests_that_begin_alike_go_to_one_replica_until_it_is_busy(stack: Stack) -> None:
    routing = {"affinity": "Prefix", "prefixCharacters": 64}
    key, engines = await a_served_model(stack, engines=4, routing=routing)
    for engine in engines:
        engine.go_on.set()
    seen = set()
    for conversation in range(12):
        prefix = f"{conversation} " * 40
        served = set()
        for turn in range(4):
            engine, task = await asked(stack, engines, a_chat(key, prefix, f"turn {turn}"))
            assert (await task).status == 200
            served.add(engine.ip)
        assert len(served) == 1
        seen |= served
    assert len(seen) > 1, "different beginnings are spread"

    for engine in engines:
        engine.go_on.clear()
    held = [await asked(stack, engines, a_chat(key, "alike " * 40)) for _ in range(12)]
    for engine in engines:
        engine.go_on.set()
    await asyncio.gather(*(task for _, task in held))
    busiest = Counter(engine.ip for engine, _ in held).most_common()
    assert busiest[0][1] <= 5, "none has much more than a fair share of 3"
    assert len(busiest) >= 3


async def test_affinity_can_be_given_and_taken_while_requests_run(stack: Stack) -> None:
    key, engines = await a_served_model(stack, engines=2)
    for engine in engines:
        engine.go_on.set()
    for routing, characters in (({"affinity": "Prefix"}, 1024), ({}, 0)):
        stack.cluster.put(LLM_DEPLOYMENT, a_deployment(key.name, routing=routing))
        await until(lambda n=characters: stack.gateway.world.table.models[key].prefix_characters == n)
        for _ in range(10):
            assert (await stack.ask(key.name)).status == 200
        await stack.settled()
        for _ in range(10):
            assert (await stack.ask(key.name)).status == 200

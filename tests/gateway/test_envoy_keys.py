"""API keys at the real Envoy: who gets in, to what, how often, how much at once."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tertium.api.meta import ObjectKey, format_time
from tertium.kube.cluster import API_KEY, LLM_DEPLOYMENT, POD
from tests.gateway.parts import Engine, a_deployment, a_pod
from tests.gateway.stack import Reply, Stack, running_stack, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

WRONG = "The API key is not known here, was removed or has expired."
_names = (f"key{number}" for number in itertools.count(1))


def a_key(
    secret: str, *, name: str, namespace: str = "team", created: str = "2026-01-01T00:00:00Z", **spec: Any
) -> dict[str, Any]:
    """A key as the API server shows it."""
    metadata = {"name": name, "namespace": namespace, "creationTimestamp": created}
    return {"metadata": metadata, "spec": {"keySHA256": sha256(secret), **spec}}


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class Caller:
    """Somebody with a key."""

    def __init__(self, stack: Stack, key: ObjectKey, secret: str) -> None:
        self.stack = stack
        self.key = key
        self.secret = secret
        self.digest = sha256(secret)

    async def ask(self, model: ObjectKey | str, *, stream: bool = False) -> Reply:
        body = json.dumps({"model": str(model), "stream": stream})
        return await self.stack.send(body, headers={"Authorization": f"Bearer {self.secret}"})

    async def get(self, path: str) -> Reply:
        return await self.stack.send("", method="GET", path=path, headers={"x-api-key": self.secret})

    async def statuses(self, model: ObjectKey, count: int, *, stream: bool = False) -> Counter[int]:
        """How so many requests at the same time were answered."""
        replies = await asyncio.gather(*(self.ask(model, stream=stream) for _ in range(count)))
        return Counter(reply.status for reply in replies)

    async def change(self, **spec: Any) -> None:
        self.stack.cluster.put(
            API_KEY, a_key(self.secret, name=self.key.name, namespace=self.key.namespace, **spec)
        )
        await published(self.stack)

    async def remove(self) -> None:
        self.stack.cluster.remove(API_KEY, self.key)
        await published(self.stack)


async def published(stack: Stack) -> None:
    """Wait until the keys that changed are written and Envoy has taken them."""
    keys = stack.gateway.keys
    assert keys is not None
    await asyncio.sleep(0)
    await until(lambda: not keys.publishing)
    await stack.settled()


async def a_caller(stack: Stack, *, namespace: str = "team", **spec: Any) -> Caller:
    """Somebody with a new key that Envoy knows."""
    name = next(_names)
    caller = Caller(stack, ObjectKey(namespace, name), f"sk-tertium-secret-of-{name}")
    await caller.change(**spec)
    return caller


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A gateway pod whose callers need a key."""
    async with running_stack(tmp_path_factory.mktemp("keys"), api_keys=True) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def awake(stack: Stack) -> tuple[ObjectKey, Engine]:
    """A deployment that serves, in namespace `team`."""
    model, engine = await stack.deploy(), await stack.start_engine()
    await stack.add_replica(model, engine)
    return model, engine


Awake = tuple[ObjectKey, Engine]


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        pytest.param(
            {},
            "No API key was sent. Send it as 'Authorization: Bearer KEY' or as 'x-api-key: KEY'.",
            id="no key",
        ),
        pytest.param({"Authorization": "Bearer sk-nobody"}, WRONG, id="an unknown key"),
        pytest.param({"x-api-key": "sk-nobody"}, WRONG, id="an unknown key as Anthropic's clients send it"),
        pytest.param({"Authorization": f"Bearer {'x' * 20_000}"}, WRONG, id="a key of 20 kB"),
        pytest.param(
            {"x-tertium-key": "team/key1"},
            "No API key was sent. Send it as 'Authorization: Bearer KEY' or as 'x-api-key: KEY'.",
            id="an identity that the caller gave himself",
        ),
    ],
)
async def test_without_a_good_key_nobody_gets_in(
    stack: Stack, awake: Awake, headers: dict[str, str], message: str
) -> None:
    model, engine = awake
    asked = len(engine.requests)
    reply = await stack.send(json.dumps({"model": str(model)}), headers=headers)
    assert reply.status == 401
    assert reply.error == {
        "message": message,
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_api_key",
    }
    assert reply.headers["www-authenticate"] == 'Bearer realm="tertium"'
    assert len(engine.requests) == asked


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/x", "/", "/metrics", "/healthz"])
async def test_no_path_is_open_without_a_key(stack: Stack, path: str) -> None:
    assert (await stack.send("", method="GET", path=path)).status == 401


async def test_the_health_check_needs_no_key(stack: Stack) -> None:
    assert await stack.health() == 200


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(("Authorization", "Bearer {}"), id="OpenAI's clients"),
        pytest.param(("authorization", "bearer {}"), id="in lower case"),
        pytest.param(("x-api-key", "{}"), id="Anthropic's clients"),
        pytest.param(("api-key", "{}"), id="Azure's clients"),
    ],
)
async def test_an_engine_learns_who_asks_and_not_the_key(
    stack: Stack, awake: Awake, header: tuple[str, str]
) -> None:
    model, engine = awake
    caller = await a_caller(stack)
    name, value = header
    sent = {
        "X-API-Key": "another",
        "Api-Key": "another",
        "x-tertium-key": "team/somebody",
        name: value.format(caller.secret),
    }
    if name.lower() != "x-api-key":
        del sent["X-API-Key"]
    if name.lower() != "api-key":
        del sent["Api-Key"]
    reply = await stack.send(json.dumps({"model": str(model)}), headers=sent)
    assert reply.status == 200
    seen = {key.lower(): value for key, value in engine.requests[-1].items()}
    assert seen["x-tertium-key"] == str(caller.key)
    assert not {"authorization", "x-api-key", "api-key", "x-tertium-slot"} & seen.keys()
    assert caller.secret not in str(seen)


async def test_tokens_are_counted_by_key(stack: Stack, awake: Awake) -> None:
    caller = await a_caller(stack)
    assert (await caller.ask(awake[0])).status == 200

    async def counted() -> bool:
        return any(meter.key == str(caller.key) for meter in await stack.gateway.tally.read())

    async with asyncio.timeout(5):
        while not await counted():  # noqa: ASYNC110 - lives in another process
            await asyncio.sleep(0.05)


async def test_a_key_reaches_what_it_allows_and_nothing_else(stack: Stack, awake: Awake) -> None:
    model, engine = awake
    caller = await a_caller(stack, allow=[{"name": "other"}, {"name": f"{model.name[:1]}x*"}])
    asked = len(engine.requests)
    reply = await caller.ask(model)
    assert (reply.status, reply.error["code"], reply.error["message"]) == (
        403,
        "model_not_allowed",
        f"The API key '{caller.key}' may not use the model '{model}'. GET /v1/models lists those it may use.",
    )
    assert len(engine.requests) == asked
    await caller.change(allow=[{"name": f"{model.name[:1]}*"}])
    assert (await caller.ask(model)).status == 200
    assert (await caller.ask(model.name)).status == 200, "by its short name too"


@pytest.mark.parametrize(
    ("namespace", "status"),
    [
        pytest.param("team-b", 403, id="not from any namespace"),
        pytest.param("tertium", 200, id="from Tertium's own"),
    ],
)
async def test_a_key_reaches_another_namespace(
    stack: Stack, awake: Awake, namespace: str, status: int
) -> None:
    caller = await a_caller(stack, namespace=namespace, allow=[{"namespace": "*"}])
    assert (await caller.ask(awake[0])).status == status


async def test_the_models_are_those_the_key_allows(stack: Stack, awake: Awake) -> None:
    other = await stack.deploy()
    caller = await a_caller(stack, allow=[{"name": other.name}])
    assert [item["id"] for item in (await caller.get("/v1/models")).json["data"]] == [other.name]
    assert (await caller.get(f"/v1/models/{other}")).status == 200
    assert (await caller.get(f"/v1/models/{awake[0]}")).status == 404


async def test_an_unknown_model_is_still_told(stack: Stack) -> None:
    reply = await (await a_caller(stack)).ask("nobody")
    assert (reply.status, reply.error["code"]) == (404, "model_not_found")


async def test_a_removed_key_stops_working_within_two_seconds(stack: Stack, awake: Awake) -> None:
    caller = await a_caller(stack)
    assert (await caller.ask(awake[0])).status == 200
    stack.cluster.remove(API_KEY, caller.key)
    async with asyncio.timeout(2):
        while (await caller.ask(awake[0])).status != 401:
            pass


async def test_a_key_removed_while_the_activator_was_down_is_refused_when_it_is_back(
    stack: Stack, awake: Awake
) -> None:
    stays, goes = await a_caller(stack), await a_caller(stack)
    await stack.stop_activator()
    stack.cluster.answers.clear()
    stack.cluster.remove(API_KEY, goes.key)
    await stack.start_activator()
    await until(lambda: stack.gateway.publisher.connected)
    assert [(await caller.ask(awake[0])).status for caller in (stays, goes)] == [200, 200], "nothing is known"
    stack.cluster.answers.set()
    async with asyncio.timeout(2):
        while (await goes.ask(awake[0])).status != 401:
            pass
    assert (await stays.ask(awake[0])).status == 200


async def test_a_changed_key_works_and_the_old_one_does_not(stack: Stack, awake: Awake) -> None:
    caller = await a_caller(stack)
    new = Caller(stack, caller.key, f"{caller.secret}-new")
    await new.change()
    assert (await caller.ask(awake[0])).status == 401
    assert (await new.ask(awake[0])).status == 200


@pytest.mark.parametrize(
    ("seconds", "status"),
    [pytest.param(-1, 401, id="its time is over"), pytest.param(3600, 200, id="its time is not over")],
)
async def test_a_key_expires(stack: Stack, awake: Awake, seconds: int, status: int) -> None:
    caller = await a_caller(stack, expiresAt=format_time(datetime.now(UTC) + timedelta(seconds=seconds)))
    assert (await caller.ask(awake[0])).status == status


async def test_a_copied_hash_gets_nothing_of_the_older_key_s_callers(stack: Stack, awake: Awake) -> None:
    caller = await a_caller(stack)
    thief = a_key(caller.secret, name="a-thief", created="2026-06-01T00:00:00Z", allow=[{"name": "none"}])
    stack.cluster.put(API_KEY, thief)
    await published(stack)
    assert (await caller.ask(awake[0])).status == 200
    assert awake[1].requests[-1]["x-tertium-key"] == str(caller.key)


async def test_requests_beyond_the_rate_are_told_when_to_come_back(stack: Stack, awake: Awake) -> None:
    model = awake[0]
    caller, other = await a_caller(stack, requestsPerMinute=6), await a_caller(stack, requestsPerMinute=6)
    assert await caller.statuses(model, 20) == {200: 6, 429: 14}
    reply = await caller.ask(model)
    assert reply.error == {
        "message": f"The API key '{caller.key}' may send 6 requests a minute, and has. Try again later.",
        "type": "rate_limit_error",
        "param": None,
        "code": "rate_limit_exceeded",
    }
    assert reply.headers["retry-after"] == "10"
    assert await other.statuses(model, 6) == {200: 6}, "a bucket for each key"


async def test_another_key_does_not_fill_the_bucket_of_this_one(stack: Stack, awake: Awake) -> None:
    caller = await a_caller(stack, requestsPerMinute=2)
    assert await caller.statuses(awake[0], 3) == {200: 2, 429: 1}
    for rate in (3, 77, 1234):
        await a_caller(stack, requestsPerMinute=rate, maxConcurrentRequests=rate)
    assert await caller.statuses(awake[0], 2) == {429: 2}


@pytest.mark.parametrize("per_minute", [1, 7, 1_000_000])
async def test_the_rate_is_exact_at_its_ends(stack: Stack, awake: Awake, per_minute: int) -> None:
    caller = await a_caller(stack, requestsPerMinute=per_minute)
    sent = min(per_minute, 30)
    statuses = await caller.statuses(awake[0], sent + 1)
    assert statuses[200] == min(per_minute, sent + 1)


async def streams(caller: Caller, model: ObjectKey, count: int) -> Sequence[asyncio.Task[Reply]]:
    """Start streams that go on until their engine is told."""
    return [asyncio.create_task(caller.ask(model, stream=True)) for _ in range(count)]


async def test_one_request_too_many_at_once_is_refused(stack: Stack) -> None:
    model, engine = await stack.deploy(), await stack.start_engine()
    await stack.add_replica(model, engine)
    caller, other = await a_caller(stack, maxConcurrentRequests=3), await a_caller(stack)
    running = await streams(caller, model, 3)
    await until(lambda: len(engine.requests) == 3)
    reply = await caller.ask(model)
    assert reply.status == 429
    assert reply.error == {
        "message": f"The API key '{caller.key}' may have 3 requests at the same time, and has. "
        "Try again when one is answered.",
        "type": "rate_limit_error",
        "param": None,
        "code": "concurrency_limit_exceeded",
    }
    assert reply.headers["retry-after"] == "1"
    assert (await other.ask(model)).status == 200, "other keys are not concerned"
    await a_caller(stack, maxConcurrentRequests=5)
    assert (await caller.ask(model)).status == 429, "a new key does not reset the count"
    engine.go_on.set()
    assert {reply.status for reply in await asyncio.gather(*running)} == {200}
    assert await caller.statuses(model, 3) == {200: 3}, "what is over counts no more"


async def test_no_storm_gets_more_through_than_the_limit(stack: Stack) -> None:
    model, engine = await stack.deploy(), await stack.start_engine()
    await stack.add_replica(model, engine)
    caller = await a_caller(stack, maxConcurrentRequests=4)
    storm = await streams(caller, model, 60)
    await until(lambda: sum(task.done() for task in storm) >= 56)
    engine.go_on.set()
    assert Counter(reply.status for reply in await asyncio.gather(*storm)) == {200: 4, 429: 56}


async def test_an_aborted_request_frees_its_place(stack: Stack) -> None:
    model, engine = await stack.deploy(), await stack.start_engine()
    await stack.add_replica(model, engine)
    caller = await a_caller(stack, maxConcurrentRequests=2)
    running = await streams(caller, model, 2)
    await until(lambda: len(engine.requests) == 2)
    assert (await caller.ask(model)).status == 429
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    engine.go_on.set()
    await until_free(caller, model)


async def test_a_request_whose_engine_died_frees_its_place(stack: Stack) -> None:
    model, engine = await stack.deploy(), await stack.start_engine()
    await stack.add_replica(model, engine)
    caller = await a_caller(stack, maxConcurrentRequests=2)
    running = await streams(caller, model, 2)
    await until(lambda: len(engine.requests) == 2)
    await engine.abort()
    await asyncio.gather(*running, return_exceptions=True)
    other, second = await stack.deploy(), await stack.start_engine()
    await stack.add_replica(other, second)
    await until_free(caller, other)


async def until_free(caller: Caller, model: ObjectKey) -> None:
    """Wait until both places are free again."""
    async with asyncio.timeout(5):
        while await caller.statuses(model, 2) != {200: 2}:
            pass


async def test_a_held_request_takes_a_place_and_counts_once(stack: Stack) -> None:
    model = await stack.deploy()
    caller = await a_caller(stack, maxConcurrentRequests=2, requestsPerMinute=4)
    held = await streams(caller, model, 2)
    await stack.until_held(model, 2)
    assert (await caller.ask(model)).error["code"] == "concurrency_limit_exceeded"
    engine = await stack.start_engine()
    engine.go_on.set()
    await stack.add_replica(model, engine)
    assert {reply.status for reply in await asyncio.gather(*held)} == {200}
    assert [request["x-tertium-key"] for request in engine.requests] == [str(caller.key)] * 2
    # Of four in a minute two are left: the replay was no request of its own, nor was the refused one.
    assert [(await caller.ask(model)).status for _ in range(3)] == [200, 200, 429]


async def test_a_request_that_envoy_looked_up_again_keeps_its_key_and_counts_once(
    stack: Stack, awake: Awake, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = awake[1]
    publisher = stack.gateway.publisher
    publish, later = publisher.publish, asyncio.get_running_loop().call_later
    # Envoy hears of a deployment a little after the activator, so that requests come before their route.
    monkeypatch.setattr(publisher, "publish", lambda *what: later(0.3, publish, *what))
    caller = await a_caller(stack, requestsPerMinute=2, maxConcurrentRequests=1)
    before = len(engine.requests)
    for name in ("came-just-now", "came-just-now-too"):
        key = ObjectKey("team", name)
        stack.cluster.put(LLM_DEPLOYMENT, a_deployment(name))
        stack.cluster.put(POD, a_pod(key, ip=engine.ip, ready=True))
        await until(lambda key=key: key in stack.gateway.world.table.models)
        assert (await caller.ask(key)).status == 200
    seen = [request["x-tertium-key"] for request in engine.requests[before:]]
    assert seen == [str(caller.key)] * 2
    monkeypatch.undo()
    assert (await caller.ask(awake[0])).error["code"] == "rate_limit_exceeded"


async def test_limits_are_shared_by_the_gateway_pods_that_are_ready(stack: Stack, awake: Awake) -> None:
    caller = await a_caller(stack, requestsPerMinute=9)
    for name, namespace, ready in (
        ("one", "tertium", True),
        ("two", "tertium", True),
        ("down", "tertium", False),
        ("stray", "team", True),
    ):
        stack.cluster.put(POD, a_gateway_pod(name, namespace, ready=ready))
    await published(stack)
    assert await caller.statuses(awake[0], 9) == {200: 5, 429: 4}
    for name, namespace in (("one", "tertium"), ("two", "tertium"), ("down", "tertium"), ("stray", "team")):
        stack.cluster.remove(POD, ObjectKey(namespace, name))
    await published(stack)


def a_gateway_pod(name: str, namespace: str, *, ready: bool) -> dict[str, Any]:
    """A gateway pod."""
    labels = {"app.kubernetes.io/name": "tertium", "app.kubernetes.io/component": "gateway"}
    metadata = {"name": name, "namespace": namespace, "uid": name, "labels": labels}
    return {
        "metadata": metadata,
        "status": {"conditions": [{"type": "Ready", "status": str(ready), "lastTransitionTime": "t"}]},
    }


async def test_no_key_is_written_down(stack: Stack, awake: Awake) -> None:
    caller = await a_caller(stack)
    await caller.ask(awake[0])
    log = Path(stack.layout.directory, "envoy.log")
    # Envoy writes its log every ten seconds.
    await until(lambda: str(caller.key) in log.read_text(), limit_seconds=20)
    files = {file.name: file.read_text(errors="replace") for file in files_of(stack)}
    async with stack.session.get(f"http://127.0.0.1:{stack.layout.admin_port}/config_dump") as answer:
        texts = {**files, "config dump": await answer.text()}
    assert not [name for name, text in texts.items() if caller.secret in text]
    assert caller.digest in texts["config dump"]


def files_of(stack: Stack) -> list[Path]:
    """What Envoy reads and writes."""
    return [file for file in Path(stack.layout.directory).iterdir() if file.is_file()]


async def test_a_key_that_breaks_the_schema_is_left_out(
    stack: Stack, awake: Awake, caplog: pytest.LogCaptureFixture
) -> None:
    caller = await a_caller(stack)
    await caller.change(requestsPerMinute=0)
    assert (await caller.ask(awake[0])).status == 401
    (record,) = [record for record in caplog.records if record.message == "API key skipped"]
    assert record.__dict__["why"] == "spec.requestsPerMinute: Input should be greater than or equal to 1"


class OneConnection:
    """A session whose requests all go through one connection, and so through one thread of Envoy."""

    def __init__(self, stack: Stack, session: aiohttp.ClientSession) -> None:
        self._url = f"{stack.url}/v1/models"
        self._session = session

    async def get(self, key: str) -> Reply:
        async with self._session.get(self._url, headers={"Authorization": f"Bearer {key}"}) as answer:
            return Reply(
                answer.status, {k.lower(): v for k, v in answer.headers.items()}, await answer.text()
            )


@pytest_asyncio.fixture(loop_scope="module")
async def one_connection(stack: Stack) -> AsyncIterator[OneConnection]:
    """A connection of one's own, at a gateway that nobody has guessed at yet: new keys make it forget."""
    await a_caller(stack)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
        yield OneConnection(stack, session)


async def test_who_guesses_is_shut_out_but_not_those_known_at_his_address(
    stack: Stack, one_connection: OneConnection
) -> None:
    known, stranger = await a_caller(stack), await a_caller(stack)
    assert (await one_connection.get(known.secret)).status == 200
    guesses = [await one_connection.get(f"guess-{number}") for number in range(12)]
    assert [guess.status for guess in guesses] == [401] * 10 + [429] * 2
    assert guesses[-1].error == {
        "message": "Too many wrong API keys were sent from your address. Try again later.",
        "type": "rate_limit_error",
        "param": None,
        "code": "too_many_wrong_keys",
    }
    assert 0 < int(guesses[-1].headers["retry-after"]) <= 60
    assert (await one_connection.get(stranger.secret)).status == 429, (
        "a right guess is not told from a wrong one"
    )
    assert (await one_connection.get(known.secret)).status == 200


async def test_the_same_wrong_key_again_is_no_guess(stack: Stack, one_connection: OneConnection) -> None:
    caller = await a_caller(stack)
    assert {(await one_connection.get("a-key-that-was-removed")).status for _ in range(30)} == {401}
    assert (await one_connection.get(caller.secret)).status == 200


async def test_a_stream_that_was_held_and_opened_early_is_its_key_s_to_the_end(stack: Stack) -> None:
    caller = await a_caller(stack, maxConcurrentRequests=1)
    model = await stack.deploy(starts=(120,), coldStart={"heartbeatSeconds": 1})
    asking = asyncio.create_task(caller.ask(model, stream=True))
    await stack.until_held(model, 1)
    await asyncio.sleep(1.5)
    assert (await caller.ask(model)).status == 429, "the one at once is under way"
    engine = await stack.start_engine()
    engine.go_on.set()
    await stack.add_replica(model, engine, ready=False)
    reply = await asking
    assert (reply.status, reply.text[:2]) == (200, ": ")
    assert reply.text.endswith("data: [DONE]\n\n")
    seen = {name.lower() for name in engine.requests[0]}
    assert not {"authorization", "x-api-key"} & seen

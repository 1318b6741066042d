"""Holding through the real Envoy: for how long, in what order, how many, and how it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

from tertium.api.meta import ObjectKey
from tertium.core import names
from tertium.core.demand import claim_key, claim_text
from tertium.gateway import pace
from tertium.gateway.waiters import Bounds
from tertium.kube.cluster import POD
from tests.gateway.parts import a_pod
from tests.gateway.stack import Reply, Stack, running_stack, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

FEW = Bounds(requests=2, body_bytes=4000, kept_bytes=0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def small(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A gateway pod that holds little."""
    async with running_stack(tmp_path_factory.mktemp("small"), FEW) as running:
        yield running


async def ask(stack: Stack, key: ObjectKey, body: dict[str, Any] | None = None, **headers: str) -> Reply:
    """Ask with headers, whose names are written with `_`."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return await stack.send(json.dumps({"model": str(key), **(body or {})}), headers=sent)


def asked(stack: Stack, key: ObjectKey, body: dict[str, Any] | None = None, **headers: str) -> Any:
    return asyncio.create_task(ask(stack, key, body, **headers))


def lease(key: ObjectKey) -> ObjectKey:
    return ObjectKey(key.namespace, names.demand_lease(key))


@pytest.mark.parametrize(
    ("cold_start", "headers", "seconds"),
    [
        pytest.param({}, {"X_Tertium_Hold_Seconds": "1"}, 1, id="less than the deployment says"),
        pytest.param({"holdSeconds": 1}, {"X_Tertium_Hold_Seconds": "2"}, 2, id="more"),
        pytest.param(
            {"holdSeconds": 1, "maxHoldSeconds": 2}, {"X_Tertium_Hold_Seconds": "99"}, 2, id="too much"
        ),
        pytest.param(
            {"holdSeconds": 2, "maxHoldSeconds": 0},
            {"X_Tertium_Hold_Seconds": "99"},
            2,
            id="what is held unasked may be asked for",
        ),
        pytest.param({}, {"X_Scale_Up_Timeout": "1"}, 1, id="in the words of Hugging Face"),
        pytest.param(
            {"mode": "Reject"},
            {"X_Scale_Up_Timeout": "1"},
            1,
            id="of a deployment that holds only who asks for it",
        ),
        pytest.param(
            {},
            {"X_Tertium_Hold_Seconds": "1", "X_Scale_Up_Timeout": "300"},
            1,
            id="ours where both are sent",
        ),
    ],
)
async def test_a_caller_says_how_long_it_is_held(
    stack: Stack, cold_start: dict[str, Any], headers: dict[str, str], seconds: int
) -> None:
    key = await stack.deploy(coldStart=cold_start)
    begun = asyncio.get_running_loop().time()
    reply = await ask(stack, key, None, **headers)
    assert seconds <= asyncio.get_running_loop().time() - begun < seconds + 20
    assert (reply.status, reply.error["code"]) == (503, "model_starting")
    assert reply.error["message"].startswith(f"The model '{key}' was still starting after {seconds} s")


async def test_a_caller_that_does_not_want_to_be_held_wakes_the_model_and_is_told(stack: Stack) -> None:
    key = await stack.deploy(starts=(600,))
    before = len(stack.cluster.renewals)
    reply = await ask(stack, key, X_Tertium_Hold_Seconds="0")
    assert (reply.status, reply.headers["retry-after"], reply.headers["x-should-retry"]) == (
        503,
        "110",
        "true",
    )
    assert (reply.error["code"], reply.error["eta_seconds"]) == ("model_starting", 600)
    assert len(stack.cluster.renewals) == before + 1
    (claim,) = stack.cluster.claims[lease(key)].values()
    assert claim.endswith("/PT120S"), "it counts as waiting until it comes back"


@pytest.mark.parametrize("value", ["soon", "-1", "1.5", "1e3", "", "9" * 40, "\u0661"])
async def test_a_wish_that_is_no_number_is_refused_in_words(stack: Stack, value: str) -> None:
    key = await stack.deploy()
    for name in ("X-Tertium-Hold-Seconds", "X-Scale-Up-Timeout"):
        if not value and name == "X-Tertium-Hold-Seconds":
            continue  # Envoy cannot tell an empty header of that name from none
        reply = await stack.send(json.dumps({"model": str(key)}), headers={name: value})
        assert (reply.status, reply.error["code"], reply.error["param"]) == (
            400,
            "invalid_hold_seconds",
            name,
        )
        assert "a whole number of seconds was expected" in reply.error["message"]


async def test_when_every_caller_has_left_demand_is_taken_back_but_not_another_pod_s(stack: Stack) -> None:
    key = await stack.deploy()
    other = {claim_key("another-pod"): claim_text(datetime.now(UTC), 15)}
    stack.cluster.claims[lease(key)] = dict(other)
    callers = [asked(stack, key) for _ in range(3)]
    await stack.until_held(key, 3)
    await until(lambda: len(stack.cluster.claims[lease(key)]) == 2)
    callers[0].cancel()
    await stack.until_held(key, 2)
    await asyncio.sleep(2.5)
    assert claim_key("test") in stack.cluster.claims[lease(key)], "somebody still waits"
    for caller in callers:
        caller.cancel()
    await until(lambda: stack.cluster.claims[lease(key)].keys() == other.keys())


async def test_who_was_told_to_come_back_keeps_the_model_waking(stack: Stack) -> None:
    key = await stack.deploy(coldStart={"holdSeconds": 1}, starts=(90,))
    assert (await ask(stack, key)).headers["retry-after"] == "90"
    await until(lambda: stack.cluster.claims[lease(key)][claim_key("test")].endswith("/PT98S"))


async def test_held_requests_go_first_come_first_and_no_faster_than_the_replica_takes_them(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "PATIENCE_SECONDS", 60)
    key = await stack.deploy(capacity={"concurrentSequences": 2})
    callers = []
    for number in range(8):
        callers.append(asked(stack, key, {"stream": True}, X_Number=str(number)))
        await stack.until_held(key, number + 1)
    engine = await stack.start_engine()
    stack.cluster.put(POD, a_pod(key, ip=engine.ip, ready=True))
    await until(lambda: len(engine.requests) == 2)
    await asyncio.sleep(0.5)
    assert len(engine.requests) == 2, "the third has no sequence to run in"
    monkeypatch.setattr(pace, "PATIENCE_SECONDS", 1)  # but waits for it no longer than that
    await until(lambda: len(engine.requests) == 3)
    newcomer = asked(stack, key, {"stream": True}, X_Number="8")
    engine.go_on.set()
    assert [reply.status for reply in await asyncio.gather(*callers, newcomer)] == [200] * 9
    numbers = [request["x-number"] for request in engine.requests]
    assert sorted(numbers[:2]) == ["0", "1"]
    assert numbers[2] == "2"
    assert sorted(numbers) == [str(number) for number in range(9)]


async def test_a_request_that_waits_in_line_for_a_replica_is_still_held_no_longer_than_it_may(
    stack: Stack,
) -> None:
    key = await stack.deploy(capacity={"concurrentSequences": 1}, coldStart={"holdSeconds": 1})
    callers = []
    for number in range(3):
        callers.append(asked(stack, key, {"stream": True}))
        await stack.until_held(key, number + 1)
    engine = await stack.start_engine()
    stack.cluster.put(POD, a_pod(key, ip=engine.ip, ready=True))
    late = await callers[2]
    assert (late.status, late.error["code"]) == (503, "model_starting")
    engine.go_on.set()
    assert (await callers[0]).status == 200


async def test_a_gateway_holds_no_more_requests_than_it_may_whatever_the_models_are(small: Stack) -> None:
    keys = [await small.deploy(coldStart={"holdSeconds": 2}, starts=(40,)) for _ in range(3)]
    held = [asked(small, key) for key in keys[:2]]
    await until(lambda: small.gateway.holds.waiters.total == 2)
    reply = await ask(small, keys[2])
    assert (reply.status, reply.error["code"], reply.headers["retry-after"]) == (
        429,
        "too_many_pending",
        "40",
    )
    assert reply.error["message"] == (
        "This gateway holds as many requests for models that start as it may. Try again later."
    )
    await asyncio.gather(*held)
    assert small.gateway.holds.waiters.total == 0


async def test_a_gateway_holds_no_larger_bodies_than_it_may(small: Stack) -> None:
    key = await small.deploy(coldStart={"holdSeconds": 1})
    first = asked(small, key, {"pad": "x" * 3000})
    await small.until_held(key, 1)
    reply = await ask(small, key, {"pad": "x" * 3000})
    assert (reply.status, reply.error["code"]) == (429, "too_many_pending")
    assert reply.error["message"].startswith("The requests for models that start are so large")
    assert (await first).status == 503
    assert small.gateway.holds.waiters.body_bytes == 0


async def test_what_is_still_held_when_the_pod_ends_is_told_so(small: Stack) -> None:
    key = await small.deploy()
    held = asked(small, key)
    await small.until_held(key, 1)
    small.gateway.holds.stop()
    for reply in (await held, await ask(small, key)):
        assert (reply.status, reply.error["code"]) == (503, "gateway_stopping")
        assert (reply.headers["retry-after"], reply.headers["x-should-retry"]) == ("1", "true")
    small.gateway.holds._stopping = False


async def test_a_replica_is_warm_before_it_gets_requests(stack: Stack) -> None:
    key = await stack.deploy(coldStart={"warmUp": True})
    held = asked(stack, key, {"prompt": "mine"})
    await stack.until_held(key, 1)
    engine = await stack.start_engine()
    stack.cluster.put(POD, a_pod(key, name="warm", ip=engine.ip))
    assert (await held).status == 200
    first, second = map(json.loads, engine.bodies)
    assert (first["model"], first["max_tokens"], second["prompt"]) == (str(key), 1, "mine")
    stack.cluster.put(POD, a_pod(key, name="warm", ip=engine.ip, ready=True, ready_since="t1"))
    await until(lambda: stack.gateway.world.addresses(key) == (engine.ip,))
    assert len(engine.bodies) == 2, "once is enough"


async def test_a_replica_that_cannot_be_warmed_up_gets_requests_all_the_same(stack: Stack) -> None:
    key = await stack.deploy(coldStart={"warmUp": True})
    engine = await stack.start_engine()
    engine.fails_with = (404, {"error": {"message": "no such path", "code": 404}})
    stack.cluster.put(POD, a_pod(key, ip=engine.ip, ready=True))
    await until(lambda: stack.gateway.world.addresses(key) == (engine.ip,))
    engine.fails_with = None
    assert (await ask(stack, key)).status == 200
    assert len(engine.bodies) == 2


async def test_the_metrics_tell_how_holds_ended_and_how_wrong_predictions_were(stack: Stack) -> None:
    key = await stack.deploy(starts=(40,))
    held = asked(stack, key)
    await stack.until_held(key, 1)
    url = f"http://127.0.0.1:{stack.report_port}/metrics"

    async def metrics() -> dict[str, float]:
        async with stack.session.get(url) as answer:
            lines = [line for line in (await answer.text()).splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    before = await metrics()
    assert before["tertium_held_requests"] == 1
    assert before["tertium_held_body_bytes"] == len(json.dumps({"model": str(key)}))
    await stack.add_replica(key, await stack.start_engine(), ready=False)
    assert (await held).status == 200
    after = await metrics()

    def grew(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert after["tertium_held_requests"] == 0
    assert grew('tertium_hold_seconds_count{outcome="ready"}') == 1
    assert grew('tertium_wakes_total{outcome="ready"}') == 1
    assert grew("tertium_eta_absolute_error_seconds_count") == 1
    assert 30 < grew("tertium_eta_absolute_error_seconds_sum") < 40
    assert grew('tertium_eta_error_seconds_bucket{le="-30.0"}') == 1

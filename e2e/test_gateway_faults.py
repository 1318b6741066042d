"""A bad day for the gateway: its pods stop, die and are replaced, the API server is silent, callers vanish.

The contract: a request is answered, or told why not. Only a killed gateway pod cuts requests off, its own.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import httpx
import pytest

from e2e import wire
from e2e.caller import Answer, Caller, chat_body
from e2e.cluster import backends
from e2e.crowd import Crowd
from e2e.doubles import applied, double
from e2e.stack import SYSTEM, Sample, Stack
from e2e.waiting import until

pytestmark = pytest.mark.e2e

GATEWAY: Final = "deployment/tertium-gateway"
HELD: Final = 12
TCP_REPAIR: Final = 19
API_SILENT_SECONDS: Final = 60
REQUESTS: Final = 10_000
AFTERWARDS: Final = 500
CALLERS: Final = 20
PORT: Final = 8080
"""Where a gateway pod listens for callers."""
CUT_OFF: Final = ("ClientPayloadError", "ServerDisconnectedError")
SLOW_STREAMS: Final = {"DOUBLE_TOKENS_PER_SECOND": "5", "DOUBLE_MAX_TOKENS": "60"}


@contextmanager
def asleep(stack: Stack, name: str, namespace: str, **spec: Any) -> Iterator[Sample]:
    """A deployment that sleeps, for the length of a test."""
    more = {
        "capacity": {"contextTokens": 512, "concurrentSequences": 64},
        "scaling": {"idleSeconds": 600},
        "rollout": {"drainSeconds": 30},
        **spec,
    }
    with applied(stack, name, namespace, **more) as sample:
        sample.wait_condition("Planned", "True", seconds=60)
        until("both gateways know it", lambda: known(stack, sample), seconds=30)
        yield sample


def known(stack: Stack, sample: Sample) -> bool:
    """Whether each gateway pod lists the model: each question goes to either."""
    return all(stack.caller.get(f"/v1/models/{sample.model}").status == 200 for _ in range(8))


@contextmanager
def serving(stack: Stack, name: str, namespace: str, **spec: Any) -> Iterator[Sample]:
    """A deployment that has answered."""
    with asleep(stack, name, namespace, **spec) as sample:
        assert stack.caller_until_routed(sample.model).status == 200
        yield sample


@pytest.fixture
def both_gateways(stack: Stack) -> Stack:
    """The stack once all gateway pods of an earlier test's making are there."""
    stack.cluster.kubectl("-n", SYSTEM, "rollout", "status", GATEWAY, "--timeout=120s")
    return stack


class Held:
    """Requests for a model that starts slowly, all sent before it answers.

    `at`: the gateway pod that is asked, else whichever the Service chooses, as for those that are cut off.
    """

    def __init__(self, stack: Stack, sample: Sample, *, at: str | None = None) -> None:
        self._service, self._first = stack.caller, at_pod(stack, at) if at else stack.caller
        self._pool = ThreadPoolExecutor(HELD)
        self.broken = 0
        """How many connections broke."""
        self._futures: list[Future[Answer]] = [
            self._pool.submit(self._ask, sample.model, max_tokens=4) for _ in range(HELD)
        ]
        until("demand", lambda: (ago := sample.demand_seconds()) is not None and ago < 5, seconds=10)

    def _ask(self, model: str, **fields: Any) -> Answer:
        for caller in (self._first, self._service):  # SDKs ask again twice by default
            try:
                return caller.chat(model, **fields)
            except httpx.TransportError:
                self.broken += 1
        return self._service.chat(model, **fields)

    def answers(self) -> list[Answer]:
        """Wait for all."""
        with self._pool:
            return [future.result() for future in self._futures]


def at_pod(stack: Stack, name: str) -> Caller:
    """A caller of one gateway pod, past the Service."""
    return replace(stack.caller, url=f"http://{stack.pod_address(name)}:{PORT}")


def all_fine(answers: list[Answer]) -> None:
    assert [answer.status for answer in answers] == [200] * len(answers), [a.body for a in answers]


@contextmanager
def streams(caller: Caller, sample: Sample, count: int = 6) -> Iterator[Crowd]:
    """Long streams that have begun when the context does."""
    with Crowd(caller.url, sample.model, count=count, rounds=1, stream=True, max_tokens=60) as crowd:
        time.sleep(2)
        yield crowd


def test_a_gateway_pod_that_stops_finishes_its_streams_and_its_held_requests(
    both_gateways: Stack, namespace: str
) -> None:
    stack = both_gateways
    slow = double(**SLOW_STREAMS)
    booting = double(DOUBLE_BOOT_SECONDS="12")
    with (
        serving(stack, "streaming", namespace, engine=slow) as awake,
        asleep(stack, "held", namespace, engine=booting) as sleeping,
        streams(stack.caller, awake) as crowd,
    ):
        held = Held(stack, sleeping)
        stack.cluster.kubectl("-n", SYSTEM, "delete", "pod", stack.pods("gateway")[0], "--wait=false")
        all_fine(held.answers())
        crowd.wait().all_answered(least=6)


def test_a_killed_gateway_pod_cuts_off_only_its_own_requests_which_a_retry_has_answered(
    both_gateways: Stack, namespace: str
) -> None:
    stack = both_gateways
    if backends.choose("auto", stack.cluster.name).kind != "local":
        pytest.skip("another cluster's pods have no address here")
    slow = double(**SLOW_STREAMS)
    booting = double(DOUBLE_BOOT_SECONDS="12")
    killed, other = stack.pods("gateway")
    with (
        serving(stack, "cut", namespace, engine=slow) as awake,
        asleep(stack, "retried", namespace, engine=booting) as sleeping,
        streams(at_pod(stack, killed), awake) as cut,
        streams(at_pod(stack, other), awake) as kept,
    ):
        lost, held = Held(stack, sleeping, at=killed), Held(stack, sleeping, at=other)
        stack.kill_pods(killed)
        all_fine(lost.answers() + held.answers())
        assert lost.broken >= HELD
        assert held.broken == 0
        assert sum(count for told, count in cut.wait().outcomes.items() if told in CUT_OFF) == 6
        kept.wait().all_answered(least=6)


def test_a_rolling_update_of_the_gateway_loses_nothing(both_gateways: Stack, namespace: str) -> None:
    stack = both_gateways
    with serving(stack, "updated", namespace) as sample:
        with Crowd(stack.caller.url, sample.model, count=6, max_tokens=16) as crowd:
            before = set(stack.pods("gateway"))
            stack.cluster.kubectl("-n", SYSTEM, "rollout", "restart", GATEWAY)
            stack.cluster.kubectl("-n", SYSTEM, "rollout", "status", GATEWAY, "--timeout=180s")
            until("other pods", lambda: not before & set(stack.pods("gateway")), seconds=60)
        crowd.tally.all_answered(least=200)


def test_a_rollout_of_the_model_under_load_loses_none_of_ten_thousand(
    both_gateways: Stack, namespace: str
) -> None:
    stack = both_gateways
    with serving(stack, "rolled", namespace) as sample:
        with Crowd(stack.caller.url, sample.model, count=CALLERS, max_tokens=4) as crowd:
            (old,) = (pod["metadata"]["name"] for pod in sample.pods())
            patch = json.dumps({"spec": {"engine": double(MARK="two")}})
            until("the load is on", lambda: crowd.tally.total > 500, seconds=60)
            sample.cluster.kubectl("-n", namespace, "patch", "llmd", sample.name, "--type=merge", "-p", patch)

            def replaced() -> bool:
                status = sample.get()["status"]
                names = [pod["metadata"]["name"] for pod in sample.pods(terminating=True)]
                return status["readyReplicas"] == 1 and len(names) == 1 and old not in names

            until("another replica alone", replaced, seconds=120)
            enough = crowd.tally.total + AFTERWARDS
            until("the load goes on", lambda: crowd.tally.total > max(REQUESTS, enough), seconds=120)
        crowd.tally.all_answered(least=REQUESTS)


def test_an_engine_killed_in_the_middle_of_a_stream_is_no_end_of_the_answer(
    both_gateways: Stack, namespace: str
) -> None:
    stack = both_gateways
    with serving(stack, "dying", namespace, engine=double(**SLOW_STREAMS)) as sample:
        with streams(stack.caller, sample, count=3) as crowd:
            (pod,) = sample.pods()
            sample.cluster.kubectl(
                *("-n", namespace, "delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force")
            )
            # What has been sent cannot be taken back, nor can its status: the connection breaks, after an
            # event that says so in the words of the API (test_clients.py).
            assert crowd.wait().outcomes == {"ClientPayloadError": 3}
        assert stack.caller.chat(sample.model).status == 200


def test_a_silent_api_server_is_not_noticed_by_callers_of_a_warm_model_and_a_wake_waits_for_it(
    both_gateways: Stack, namespace: str
) -> None:
    stack = both_gateways
    if backends.choose("auto", stack.cluster.name).kind != "local":
        pytest.skip("only the local back end can be broken from here")
    with (
        serving(stack, "warm", namespace) as warm,
        asleep(stack, "cold", namespace) as cold,
        Crowd(stack.caller.url, warm.model, count=4, max_tokens=16) as crowd,
        ThreadPoolExecutor(1) as pool,
    ):
        stack.cluster.faults.freeze_api_server()
        try:
            waiting = pool.submit(stack.caller.chat, cold.model)
            time.sleep(API_SILENT_SECONDS)
            assert not waiting.done()
        finally:
            stack.cluster.faults.thaw_api_server()
        answer = waiting.result()
        assert answer.status == 200, answer.body
    crowd.tally.all_answered(least=500)


def test_callers_that_leave_end_the_wake_and_leave_no_gpu_taken(both_gateways: Stack, namespace: str) -> None:
    stack = both_gateways
    slow = {"engine": double(DOUBLE_BOOT_SECONDS="5"), "scaling": {"idleSeconds": 3}}
    with asleep(stack, "left", namespace, **slow) as sample:
        body = chat_body(sample.model, "Hello")

        def ask_and_leave() -> None:
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(f"{stack.caller.url}/v1/chat/completions", json=body, timeout=3, trust_env=False)

        with ThreadPoolExecutor(HELD) as pool:
            for left in [pool.submit(ask_and_leave) for _ in range(HELD)]:
                left.result()
        until("no replica", lambda: sample.pods(terminating=True) == [], seconds=60)
        sample.wait_condition("Ready", "True", seconds=10)
        assert stack.caller.chat(sample.model).status == 200


def test_a_caller_whose_machine_dies_while_it_is_held_is_let_go(both_gateways: Stack, namespace: str) -> None:
    stack = both_gateways
    nowhere = {"template": {"nodeSelector": {"zone": "nowhere"}}, "coldStart": {"holdSeconds": 900}}
    with asleep(stack, "vanished", namespace, **nowhere) as sample:
        ask_and_vanish(stack, sample)
        until("its claim is taken back", lambda: sample.demand_seconds() is None, seconds=180)
        until("no replica", lambda: sample.pods(terminating=True) == [], seconds=30)


def ask_and_vanish(stack: Stack, sample: Sample) -> None:
    """Send a request and be gone without a word on the wire, as a machine is that has lost its power."""
    with wire.connect(stack.caller.url) as connection:
        connection.sendall(wire.post(chat_body(sample.model, "Hello")))
        until("demand", lambda: (ago := sample.demand_seconds()) is not None and ago < 5, seconds=10)
        connection.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)


def test_a_slow_reader_gets_all_of_its_stream_and_holds_up_nobody(
    both_gateways: Stack, namespace: str
) -> None:
    stack = both_gateways
    long = double(DOUBLE_MAX_TOKENS="400")
    with serving(stack, "slow-reader", namespace, engine=long) as sample:
        body = chat_body(sample.model, "Hello", stream=True, max_tokens=400)
        received = b""
        with (
            wire.connect(stack.caller.url, receive_bytes=2048) as connection,
            Crowd(stack.caller.url, sample.model, count=2, max_tokens=4) as crowd,
        ):
            connection.sendall(wire.post(body, "Connection: close"))
            while piece := connection.recv(1024):
                received += piece
                time.sleep(0.05)
        crowd.tally.all_answered(least=20)
        assert b"data: [DONE]" in received
        assert received.count(b'"content":') >= 400

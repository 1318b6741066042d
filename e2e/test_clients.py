"""The clients people have, with the settings they come with, call a model that sleeps and get its answer.

The model is the engine double: what counts here is how long it takes to be there and what it sounds like.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest

from e2e.caller import chat_body
from e2e.clients.installed import Installed, install
from e2e.cluster.progress import Steps
from e2e.doubles import applied, deployment, double
from e2e.stack import Sample, Stack
from e2e.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

ANSWER: Final = "The engine double has read your words and answers with its own ."
SLOW_BOOT_SECONDS: Final = 90
SHORTER_BOOT_SECONDS: Final = 20
"""What a second start really takes, for which the first one is the prediction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A program of `e2e/clients/programs` with its options, and the ways in which it can ask."""

    program: str
    options: tuple[str, ...] = ()
    ways: tuple[str, ...] = ("whole", "stream")


CLIENTS: Final = {
    "openai-python": Client(program="with_openai.py", ways=("whole", "stream", "responses", "transcription")),
    "openai-node": Client(program="with_openai.cjs"),
    "anthropic": Client(program="with_anthropic.py"),
    "litellm": Client(program="with_litellm.py"),
    "langchain": Client(program="with_langchain.py", ways=("whole", "stream", "astream")),
    "curl": Client(program="with_curl.py"),
    "h2": Client(program="with_h2.py"),
}
CURL_H2: Final = Client(program="with_curl.py", options=("--http2-prior-knowledge",))
ALL: Final = {**CLIENTS, "curl-h2": CURL_H2}
EVERY_WAY: Final = [(name, way) for name, client in ALL.items() for way in client.ways]
STREAMS: Final = [(name, way) for name, way in EVERY_WAY if way not in ("whole", "transcription")]
TOLD: Final = [(name, way) for name, way in STREAMS if name != "curl-h2"]
"""curl throws away what it has received of a stream when HTTP/2 resets it."""

Asked = Mapping[tuple[str, str], Future[list[str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Callers:
    """The clients, before one gateway."""

    installed: Installed
    gateway: str
    pool: ThreadPoolExecutor

    def ask(self, name: str, way: str, model: str) -> Future[list[str]]:
        """Let a client begin to ask; the result are the pieces of the answer."""
        client = ALL[name]
        return self.pool.submit(
            self.installed.ask, client.program, model, way, *client.options, gateway=self.gateway
        )


@pytest.fixture(scope="module")
def callers(stack: Stack) -> Iterator[Callers]:
    """All clients, installed."""
    installed = install(Steps())
    with ThreadPoolExecutor(len(EVERY_WAY) + len(CLIENTS)) as pool:
        yield Callers(installed=installed, gateway=stack.caller.url, pool=pool)


def deploy(stack: Stack, namespace: str, name: str, *, boot_seconds: int = 0) -> Sample:
    """A model that falls asleep soon."""
    more = {
        "capacity": {"contextTokens": 512, "concurrentSequences": 32},
        "scaling": {"idleSeconds": 2},
        "engine": talking(boot_seconds),
    }
    return stack.apply(deployment(name, namespace, **more))


def talking(boot_seconds: int) -> dict[str, Any]:
    """An engine double that says one sentence."""
    return double(DOUBLE_BOOT_SECONDS=boot_seconds, DOUBLE_MAX_TOKENS=len(ANSWER.split()))


@pytest.fixture(scope="module")
def slow(stack: Stack, namespace: str) -> Iterator[Sample]:
    """A model that takes long to boot, asleep."""
    sample = deploy(stack, namespace, "slow", boot_seconds=SLOW_BOOT_SECONDS)
    sample.wait_condition("Ready", "True", seconds=90)
    yield sample
    sample.delete()


@pytest.fixture(scope="module")
def patient(slow: Sample, callers: Callers, stack: Stack) -> Asked:
    """Every client asks the slow model in every way, all at once; the other tests go on meanwhile."""
    assert slow.pods() == []
    return {(name, way): callers.ask(name, way, slow.model) for name, way in EVERY_WAY}


@pytest.fixture(scope="module")
def fast(stack: Stack, namespace: str, patient: Asked) -> Iterator[dict[str, Sample]]:
    """A model for each client that boots at once, asleep."""
    samples = {name: deploy(stack, namespace, name) for name in CLIENTS}
    for sample in samples.values():
        sample.wait_condition("Ready", "True", seconds=60)
        asleep(sample)
    yield samples
    for sample in samples.values():
        sample.delete()


@pytest.fixture(scope="module")
def woken(fast: dict[str, Sample], callers: Callers) -> Asked:
    """Each client has called its sleeping model."""
    return {(name, "whole"): callers.ask(name, "whole", sample.model) for name, sample in fast.items()}


@pytest.fixture(scope="module")
def streamed(fast: dict[str, Sample], woken: Asked, callers: Callers) -> Asked:
    """Each client has called it once more, for a stream, after it fell asleep again."""
    for future in woken.values():
        future.exception()
    for sample in fast.values():
        asleep(sample)
    return {(name, "stream"): callers.ask(name, "stream", sample.model) for name, sample in fast.items()}


@pytest.fixture(scope="module")
def kept_alive(patient: Asked, slow: Sample, callers: Callers) -> Asked:
    """Every client asks for a stream once more, now that the gateway knows how long the start takes."""
    for future in patient.values():
        future.exception()
    asleep(slow)
    patch = json.dumps({"spec": {"engine": talking(SHORTER_BOOT_SECONDS)}})
    slow.cluster.kubectl("-n", slow.namespace, "patch", "llmd", slow.name, "--type=merge", "-p", patch)
    slow.wait_condition("Ready", "True", seconds=30)
    assert slow.get()["status"]["coldStart"]["etaSeconds"] >= SLOW_BOOT_SECONDS
    return {(name, way): callers.ask(name, way, slow.model) for name, way in STREAMS}


@pytest.fixture(scope="module")
def broken_off(callers: Callers, stack: Stack, namespace: str) -> Iterator[Asked]:
    """Every client is in the middle of a stream when its engine is killed."""
    slow = double(DOUBLE_TOKENS_PER_SECOND="0.5", DOUBLE_MAX_TOKENS=60)
    capacity = {"contextTokens": 512, "concurrentSequences": 32}
    with applied(stack, "dying", namespace, engine=slow, capacity=capacity) as sample:
        assert stack.caller_until_routed(sample.model, max_tokens=1).status == 200
        asked = {(name, way): callers.ask(name, way, sample.model) for name, way in TOLD}
        (pod,) = (pod["metadata"]["name"] for pod in sample.pods())
        metrics = f"/api/v1/namespaces/{namespace}/pods/{pod}:8000/proxy/metrics"

        def begun() -> bool:
            text = stack.cluster.kubectl("get", "--raw", metrics)
            return (
                re.search(rf"^vllm:num_requests_running{{.*}} {len(TOLD)}$", text, re.MULTILINE) is not None
            )

        until("every stream", begun, seconds=60)
        stack.cluster.kubectl("-n", namespace, "delete", "pod", pod, "--grace-period=0", "--force")
        yield asked


def asleep(sample: Sample) -> None:
    """Wait until a model has no replica."""
    until(f"{sample.model} asleep", lambda: sample.pods() == [], seconds=60)


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_wakes_a_model_and_is_answered(woken: Asked, name: str) -> None:
    assert woken[name, "whole"].result() == [ANSWER]


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_wakes_a_model_and_gets_a_stream(streamed: Asked, name: str) -> None:
    pieces = streamed[name, "stream"].result()
    assert "".join(pieces) == ANSWER
    assert len([piece for piece in pieces if piece]) == len(ANSWER.split())


@pytest.mark.parametrize(("name", "way"), EVERY_WAY)
def test_a_client_waits_for_a_slow_start(patient: Asked, name: str, way: str) -> None:
    assert "".join(patient[name, way].result()) == ANSWER


def test_nobody_had_to_ask_twice(patient: Asked, slow: Sample, stack: Stack) -> None:
    """All were held: SDKs that are refused or cut off ask again by themselves, and that would show here."""
    for future in patient.values():
        future.exception()
    lines = until("the access log", lambda: requests(stack, slow, at_least=len(EVERY_WAY)), seconds=10)
    assert [line["status"] for line in lines] == [200] * len(EVERY_WAY)
    assert min(line["millis"] for line in lines) > 1000, "a client came when the model was awake"


def test_a_held_stream_is_opened_with_signs_of_life(kept_alive: Asked, slow: Sample, stack: Stack) -> None:
    body = {**chat_body(slow.model, "What is up?"), "stream": True}
    url = f"{stack.caller.url}/v1/chat/completions"
    with httpx.stream("POST", url, json=body, timeout=60, trust_env=False) as answer:
        assert next(answer.iter_lines()).startswith(f": model={slow.model} phase=")


@pytest.mark.parametrize(("name", "way"), STREAMS)
def test_a_client_takes_signs_of_life_before_its_stream(kept_alive: Asked, name: str, way: str) -> None:
    assert "".join(kept_alive[name, way].result()) == ANSWER


@pytest.mark.parametrize(("name", "way"), TOLD)
def test_a_client_raises_that_its_stream_broke_off(broken_off: Asked, name: str, way: str) -> None:
    with pytest.raises(AssertionError, match="answer broke off"):
        broken_off[name, way].result()


def requests(stack: Stack, sample: Sample, *, at_least: int = 0) -> list[dict[str, Any]] | None:
    """What the gateway's access log says of a model, once it says enough."""
    lines = [line for line in stack.logs("gateway", "envoy") if line.get("route") == sample.model]
    return lines if len(lines) >= at_least else None

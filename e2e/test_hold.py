"""The hold as callers meet it: how long, kept alive how, cancelled when. The engine is a slow double."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from e2e.caller import QUESTION, Answer, Caller, chat_body
from e2e.doubles import applied, double
from e2e.stack import IDLE, Sample, Stack
from e2e.waiting import until

pytestmark = pytest.mark.e2e

BOOT_SECONDS = 55


@contextmanager
def planned(stack: Stack, name: str, namespace: str, **spec: Any) -> Iterator[Sample]:
    """A deployment that takes long to start, planned and asleep."""
    more = {
        "capacity": {"contextTokens": 2048, "concurrentSequences": 4},
        "engine": double(DOUBLE_BOOT_SECONDS=BOOT_SECONDS),
        **spec,
    }
    with applied(stack, name, namespace, **more) as sample:
        sample.wait_condition("Planned", "True", seconds=60)
        yield sample


def hang_up(stack: Stack, sample: Sample, *, seconds: float) -> bool:
    """Ask, and leave without an answer after so long; False: there was an answer."""
    try:
        Caller(url=stack.caller.url, timeout_seconds=seconds).chat(sample.model)
    except httpx.ReadTimeout:
        return True
    return False


def ask(stack: Stack, sample: Sample, **headers: str) -> Answer:
    """Ask with headers, once the gateway has told Envoy of the model."""

    def answered() -> Answer | None:
        body = chat_body(sample.model, QUESTION)
        answer = stack.caller.post("/v1/chat/completions", body, **headers)
        early = answer.status == 404 or "was just created" in answer.body["error"]["message"]
        return None if early else answer

    return until("a route", answered, seconds=20, every=0.1)


@contextmanager
def lines(stack: Stack, sample: Sample) -> Iterator[Iterator[tuple[float, str]]]:
    """Ask for a stream; the iterator gives each line that is not empty, and seconds since the request."""
    begun = time.monotonic()
    body = chat_body(sample.model, QUESTION, stream=True)
    url = f"{stack.caller.url}/v1/chat/completions"
    with httpx.stream("POST", url, json=body, timeout=300, trust_env=False) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield ((time.monotonic() - begun, line) for line in answer.iter_lines() if line)


def test_a_caller_says_how_long_it_wants_to_be_held(stack: Stack, namespace: str) -> None:
    with planned(stack, "asked", namespace, template={"nodeSelector": {"zone": "nowhere"}}) as sample:
        for header in ("X_Tertium_Hold_Seconds", "X_Scale_Up_Timeout"):
            answer = ask(stack, sample, **{header: "2"})
            assert (answer.status, answer.error["code"]) == (503, "model_starting")
            assert 2 <= answer.seconds < 4
        wrong = ask(stack, sample, X_Tertium_Hold_Seconds="soon")
        assert (wrong.status, wrong.error["param"]) == (400, "X-Tertium-Hold-Seconds")


def test_a_wake_is_cancelled_when_every_caller_has_left_while_it_has_no_gpu(
    stack: Stack, namespace: str
) -> None:
    with planned(stack, "left", namespace, template={"nodeSelector": {"zone": "nowhere"}}) as sample:
        assert ask(stack, sample, X_Tertium_Hold_Seconds="0").headers["x-should-retry"] == "true"
        until("a pod that waits", lambda: len(sample.pods()) == 1, seconds=10)
        # Who was told when to come back is waited for: the model goes on waking for half a minute.
        time.sleep(5)
        assert len(sample.pods()) == 1
    with planned(stack, "gone", namespace, template={"nodeSelector": {"zone": "nowhere"}}) as sample:
        until("a held request", lambda: hang_up(stack, sample, seconds=3), seconds=30)
        until("a pod that waits", lambda: len(sample.pods()) == 1, seconds=2, every=0.05)
        until("the wake is cancelled", lambda: sample.pods() == [], seconds=10)
        sample.wait_condition("Active", "False", seconds=10)
        assert sample.condition("Active")["reason"] == IDLE


def last_start(sample: Sample) -> dict[str, Any] | None:
    """The only start that the status tells of."""
    recent = sample.get()["status"]["coldStart"].get("recent", [])
    return dict(recent[0]) if len(recent) == 1 else None


def test_a_slow_start_is_kept_alive_learned_and_goes_on_once_it_has_a_gpu(
    stack: Stack, namespace: str
) -> None:
    with planned(stack, "slow", namespace, scaling={"idleSeconds": 3}) as sample:
        assert ask(stack, sample, X_Tertium_Hold_Seconds="soon").status == 400
        with lines(stack, sample) as first:
            seen = list(first)
        # Nobody knew how long it takes: it is silent until proxies would hang up.
        opened, sign = seen[0]
        assert sign.startswith(f": model={sample.model} phase=waking eta_seconds=unknown waited_seconds=50")
        assert 50 <= opened < 54
        assert seen[-1][1] == "data: [DONE]"
        assert any("chat.completion.chunk" in line for _, line in seen)

        # The gateway asks the engine itself; the kubelet, and so the status, knows later that it answers.
        start = until("the start is learned", lambda: last_start(sample), seconds=20)
        assert BOOT_SECONDS * 1000 <= start["totalMillis"] < (BOOT_SECONDS + 20) * 1000
        until("asleep again", lambda: sample.pods(terminating=True) == [], seconds=60)
        with lines(stack, sample) as second:
            opened, sign = next(second)
            assert opened < 4
            assert f"eta_seconds={-(-start['totalMillis'] // 1000)}" in sign
        time.sleep(8)
        assert len(sample.pods()) == 1, "it has its GPU, and starts though nobody waits"

"""The main job on real parts: apply, a held first request, an answer, idleness, zero.

The tests of this file share one deployment and run in order, since every wake is a real start of vLLM.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from e2e.stack import IDLE, Sample, Stack
from e2e.waiting import until

pytestmark = pytest.mark.e2e

IDLE_SECONDS = 8
MOST_RETRIES = 2


@pytest.fixture(scope="module")
def smollm2(stack: Stack, namespace: str) -> Iterator[Sample]:
    """The sample model, asleep and planned."""
    sample = stack.apply_sample("smollm2", namespace, idle_seconds=IDLE_SECONDS)
    sample.wait_condition("Ready", "True", seconds=60)
    yield sample
    sample.delete()


def test_an_applied_model_is_ready_asleep_and_listed(stack: Stack, smollm2: Sample) -> None:
    assert smollm2.condition("Active")["reason"] == IDLE
    assert smollm2.pods() == []
    plan = smollm2.get()["status"]["plan"]
    assert (plan["gpusPerReplica"], plan["tensorParallelSize"]) == (1, 1)
    listed = {model["id"]: model for model in stack.caller.get("/v1/models").body["data"]}
    assert listed[smollm2.name]["tertium"] == {"deployment": smollm2.model, "state": "idle"}


def test_a_held_first_request_wakes_vllm_and_is_answered(stack: Stack, smollm2: Sample) -> None:
    assert smollm2.pods() == []
    answer = stack.caller.chat(smollm2.model)
    assert answer.status == 200, answer.body
    assert "Paris" in answer.text
    smollm2.wait_condition("Active", "True", seconds=20)
    shown = stack.cluster.kubectl("-n", smollm2.namespace, "get", "llmd", smollm2.name)
    assert "Serving" in shown
    assert "--tensor-parallel-size=1" in smollm2.pods()[0]["spec"]["containers"][0]["args"]


def test_a_warm_model_answers_and_streams_by_its_short_name(stack: Stack, smollm2: Sample) -> None:
    answer = stack.caller.chat(smollm2.name)
    assert "Paris" in answer.text
    with stack.caller.stream(smollm2.name) as pieces:
        assert "Paris" in "".join(pieces)


def test_it_sleeps_only_after_the_stream_has_ended(stack: Stack, smollm2: Sample) -> None:
    # Longer than idleSeconds by far: were the clock to start at the request, the pod would go first. How many
    # tokens that takes depends on the machine, and on what else it does.
    tokens, asked, count, seconds = 32, 0, 0, 0.0
    while seconds <= IDLE_SECONDS + 2 and asked < 1900:
        asked = tokens
        with stack.caller.stream(smollm2.model, max_tokens=asked, ignore_eos=True) as pieces:
            count, seconds = count_pieces(pieces)
        tokens = min(1900, round(1.5 * count / seconds * (IDLE_SECONDS + 2)))
    assert count >= asked * 0.9
    assert seconds > IDLE_SECONDS + 2, f"{asked} tokens took only {seconds:.1f} s"
    until("zero replicas after the stream", lambda: smollm2.pods() == [], seconds=IDLE_SECONDS + 30)
    smollm2.wait_condition("Active", "False", seconds=20)
    assert smollm2.condition("Active")["reason"] == IDLE
    assert smollm2.condition("Ready")["status"] == "True"


def test_what_was_answered_is_in_the_status(smollm2: Sample) -> None:
    usage = smollm2.get()["status"]["usage"]
    # Two chats told their usage, the streams nothing: their callers did not ask for it.
    assert usage["requests"] - usage["unmeteredRequests"] == 2
    assert usage["unmeteredRequests"] >= 2
    assert min(usage["promptTokens"], usage["completionTokens"]) >= 2


def test_a_request_held_while_the_operator_is_killed_is_answered(stack: Stack, smollm2: Sample) -> None:
    until("zero replicas", lambda: smollm2.pods(terminating=True) == [], seconds=200)
    # Dead before the request comes, so that demand is stated to nobody, and once more while it is held.
    stack.kill_pods(*stack.pods("operator"))
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(stack.caller.chat, smollm2.model)
        until("demand", lambda: (ago := smollm2.demand_seconds()) is not None and ago < 5, seconds=10)
        stack.kill_pods(*stack.pods("operator"))
        answer = held.result()
    assert answer.status == 200, answer.body
    assert "Paris" in answer.text


def test_a_killed_gateway_pod_leaves_the_other_serving(stack: Stack, smollm2: Sample) -> None:
    """What the killed pod was about to answer is asked again; nothing else is.

    The API forgets a pod that is deleted by force at once, while its Envoy takes connections for a moment.
    """
    if smollm2.pods() == []:
        assert stack.caller.chat(smollm2.model).status == 200
    stack.kill_pods(stack.pods("gateway")[0])
    answers = [stack.retrying_caller.chat(smollm2.model, max_tokens=4) for _ in range(10)]
    assert [a.status for a in answers] == [200] * 10
    assert sum(a.retries for a in answers) <= MOST_RETRIES, [a.retries for a in answers]


def count_pieces(pieces: Iterable[str]) -> tuple[int, float]:
    """Consume a stream; return how many pieces came and over how many seconds."""
    started = time.monotonic()
    return sum(1 for _ in pieces), time.monotonic() - started


def test_deleting_the_deployment_removes_everything_it_made(stack: Stack, smollm2: Sample) -> None:
    assert smollm2.children() != []
    smollm2.delete()
    until("no child left", lambda: smollm2.children() == [], seconds=200)
    gone = stack.caller.chat(smollm2.model)
    assert gone.status == 404
    assert gone.error["code"] == "model_not_found"

"""The engine double speaks as vLLM does: vLLM's own classes read its answers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest

from e2e.cluster import binaries
from e2e.cluster.progress import Steps
from e2e.oracle.ask import program

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

MESSAGES: Final[dict[str, Any]] = {"messages": [{"role": "user", "content": "What is up?"}]}
USAGE: Final[dict[str, Any]] = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}
BODIES: Final[list[tuple[str, str, dict[str, Any]]]] = [
    ("ChatCompletionResponse", "/v1/chat/completions", MESSAGES),
    ("CompletionResponse", "/v1/completions", {"prompt": "x"}),
    ("ResponsesResponse", "/v1/responses", {"input": "x"}),
    ("ResponsesResponse", "/v1/responses", {"input": "x", "max_output_tokens": 2}),
    ("AnthropicMessagesResponse", "/v1/messages", {**MESSAGES, "max_tokens": 5}),
    ("AnthropicCountTokensResponse", "/v1/messages/count_tokens", MESSAGES),
    ("EmbeddingResponse", "/v1/embeddings", {"input": ["x", "y"]}),
    ("EmbeddingResponse", "/v1/embeddings", {"input": "x", "encoding_format": "base64"}),
    ("RerankResponse", "/v1/rerank", {"query": "x", "documents": ["x", "y"]}),
    ("ScoreResponse", "/v1/score", {"text_1": "x", "text_2": ["x", "y"]}),
    ("TokenizeResponse", "/tokenize", {"prompt": "x"}),
    ("DetokenizeResponse", "/detokenize", {"tokens": [0, 1]}),
    ("ErrorResponse", "/v1/embeddings", {"model": "nobody's"}),
    ("AnthropicErrorResponse", "/v1/messages", {"model": "nobody's"}),
]
STREAMS: Final[list[tuple[str, str, dict[str, Any]]]] = [
    ("ChatCompletionStreamResponse", "/v1/chat/completions", {**MESSAGES, **USAGE}),
    ("CompletionStreamResponse", "/v1/completions", {"prompt": "x", **USAGE}),
    ("ResponseStreamEvent", "/v1/responses", {"input": "x"}),
    ("AnthropicStreamEvent", "/v1/messages", {**MESSAGES, "max_tokens": 2}),
]


@pytest.fixture(scope="module")
def double() -> Iterator[httpx.Client]:
    """A running double."""
    binary = binaries.build([binaries.ENGINE_DOUBLE], Steps(quiet=True))["engine-double"]
    command = [str(binary), "m", "--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen(command, env={}, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        address = next(line for line in process.stderr if "listening on " in line).split()[-1]
        with httpx.Client(base_url=f"http://{address}", trust_env=False) as client:
            yield client
        process.kill()


def test_every_answer_is_one_of_vllm_s(double: httpx.Client) -> None:
    said: list[tuple[str, Any]] = [("ModelList", double.get("/v1/models").json())]
    said += [(name, double.post(path, json=body).json()) for name, path, body in BODIES]
    for name, path, body in STREAMS:
        said += [(name, one) for one in events(double.post(path, json={**body, "stream": True}))]
    sound = {"file": ("speech.wav", bytes(64_000))}
    path = "/v1/audio/transcriptions"
    said.append(("TranscriptionResponse", double.post(path, files=sound, data={"model": "m"}).json()))
    streamed = double.post(path, files=sound, data={"model": "m", "stream": "true"})
    said += [("TranscriptionStreamResponse", one) for one in events(streamed)]
    completed = [
        ("ResponseCompletedEvent", one) for _, one in said if one.get("type") == "response.completed"
    ]
    assert completed
    assert faults([*said, *completed]) == []


def events(stream: httpx.Response) -> list[dict[str, Any]]:
    """The JSON of each event of a stream that has ended."""
    data = [line.removeprefix("data: ") for line in stream.text.splitlines() if line.startswith("data: ")]
    return [json.loads(one) for one in data if one != "[DONE]"]


def faults(said: list[tuple[str, Any]]) -> list[tuple[str, str, Any]]:
    """What vLLM's classes do not take."""
    command, environment = program("shapes")
    done = subprocess.run(
        command, env=environment, input=json.dumps(said), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = zip(said, json.loads(done.stdout), strict=True)
    return [(name, fault, body) for (name, body), fault in found if fault]

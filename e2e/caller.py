"""A plain caller of the OpenAI API, as small as `curl`: what a user sends and what a user gets back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

QUESTION: Final = "What is the capital of France?"
FIRST_PAUSE_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One HTTP answer. `seconds` is from first sending the request to the last byte."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str]
    seconds: float
    retries: int
    """How many connections broke before the answer was there, so that the request was sent again."""

    @property
    def text(self) -> str:
        """The assistant's words; raises KeyError when the answer is an error."""
        return str(self.body["choices"][0]["message"]["content"])

    @property
    def error(self) -> dict[str, Any]:
        """The error object; raises KeyError when the answer is none."""
        return dict(self.body["error"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Calls one gateway. `url` has no path; `retries` is how often a request is sent again at most.

    `key` is an API key, where the gateway wants one.
    """

    url: str
    key: str = field(default="", repr=False)
    timeout_seconds: float = 300.0
    retries: int = 0

    def chat(self, model: str, question: str = QUESTION, **fields: Any) -> Answer:
        """Send one chat completion and wait for the whole answer."""
        return self.post("/v1/chat/completions", chat_body(model, question, **fields))

    def post(self, path: str, body: dict[str, Any] | bytes, **headers: str) -> Answer:
        """Send a JSON object, or bytes as they are; headers are given with underscores for dashes."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._send("POST", path, content, {"content-type": "application/json", **named})

    def get(self, path: str) -> Answer:
        """Fetch a JSON document."""
        return self._send("GET", path, b"", {})

    @contextmanager
    def stream(self, model: str, question: str = QUESTION, **fields: Any) -> Iterator[Iterator[str]]:
        """Open a streamed chat completion; the iterator gives the pieces of text as they come.

        Raises AssertionError when the answer is no stream, or ends without `[DONE]`.
        """
        body = chat_body(model, question, stream=True, **fields)
        with (
            self._client() as client,
            client.stream("POST", f"{self.url}/v1/chat/completions", json=body) as response,
        ):
            if response.status_code != 200:
                raise AssertionError(f"HTTP {response.status_code}: {response.read().decode()}")
            yield _pieces(response)

    def _client(self) -> httpx.Client:
        # The gateway is asked over plain HTTP; loading authorities would take longer than a warm request.
        headers = {"authorization": f"Bearer {self.key}"} if self.key else {}
        return httpx.Client(timeout=self.timeout_seconds, trust_env=False, verify=False, headers=headers)

    def _send(self, method: str, path: str, content: bytes, headers: dict[str, str]) -> Answer:
        started, retries = time.monotonic(), 0
        while True:
            try:
                with self._client() as client:
                    response = client.request(method, self.url + path, content=content, headers=headers)
                break
            except (httpx.NetworkError, httpx.RemoteProtocolError):
                if retries == self.retries:
                    raise
                time.sleep(FIRST_PAUSE_SECONDS * 2**retries)
                retries += 1
        return Answer(
            status=response.status_code,
            body=response.json(),
            headers=dict(response.headers),
            seconds=time.monotonic() - started,
            retries=retries,
        )


def chat_body(model: str, question: str, **fields: Any) -> dict[str, Any]:
    """The body of a chat completion, greedy and short unless `fields` say otherwise."""
    messages = [{"role": "user", "content": question}]
    return {"model": model, "messages": messages, "temperature": 0, "max_tokens": 32, **fields}


def _pieces(response: httpx.Response) -> Iterator[str]:
    for line in response.iter_lines():
        if line == "data: [DONE]":
            return
        if line.startswith("data: "):
            choices = json.loads(line[6:])["choices"]
            yield (choices[0]["delta"].get("content") or "") if choices else ""
    raise AssertionError("the stream ended without [DONE]")

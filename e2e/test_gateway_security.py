"""Callers that mean harm: they cost the gateway no memory and others no answer, and they learn no secret."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import time
from collections.abc import Iterator
from typing import Any, Final

import aiohttp
import pytest
import yaml

from e2e import wire
from e2e.caller import chat_body
from e2e.crowd import Crowd
from e2e.doubles import applied
from e2e.stack import SYSTEM, Sample, Stack
from e2e.waiting import until

pytestmark = pytest.mark.e2e

STRANGERS: Final = 10_000
LORISES: Final = 300
MEBIBYTE: Final = 1024 * 1024
HEADER_SECONDS: Final = 10
"""How long the gateway waits for the whole of a request's headers."""


@pytest.fixture(scope="module")
def planted() -> str:
    """A secret that must not be found anywhere afterwards."""
    return f"planted-{secrets.token_hex(16)}"


@pytest.fixture(scope="module")
def sample(stack: Stack, namespace: str, planted: str) -> Iterator[Sample]:
    """A deployment that serves, beside one whose source has credentials."""
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "credentials", "namespace": namespace},
        "stringData": {"token": planted},
    }
    # No hub is reached from the cluster: that its token is right is never known, nor may it be told.
    source = {"source": "hf://nobody/nothing", "credentialsSecretRef": {"name": "credentials"}}
    stack.cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump(secret))
    more = {
        "capacity": {"contextTokens": 512, "concurrentSequences": 64},
        "scaling": {"idleSeconds": 600},
    }
    with (
        applied(stack, "unreachable", namespace, model=source, **more) as hub,
        applied(stack, "guarded", namespace, **more) as guarded,
    ):
        guarded.wait_condition("Planned", "True", seconds=60)
        assert stack.caller_until_routed(guarded.model).status == 200
        hub.wait_condition("WeightsReady", "False", seconds=60)
        yield guarded


def resident_bytes(stack: Stack) -> dict[str, int]:
    """Resident memory of Envoy and activator in each gateway pod."""
    found = {}
    for name in stack.cluster.kubectl(
        *("-n", SYSTEM, "get", "pods", "-l", "app.kubernetes.io/component=gateway", "-o", "name")
    ).split():
        for container in ("envoy", "activator"):
            status = stack.cluster.kubectl(
                *("-n", SYSTEM, "exec", name, "-c", container, "--", "python3", "-c"),
                "print(open('/proc/1/status').read())",
            )
            (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
            found[f"{name} {container}"] = int(line.split()[1]) * 1024
    return found


async def ask_for_strangers(url: str, count: int) -> set[int]:
    """Ask for so many models that are not there, each by another long name; return the statuses."""
    seen: set[int] = set()
    numbers = iter(range(count))

    async def caller(session: aiohttp.ClientSession) -> None:
        for number in numbers:
            body = chat_body(f"nobody/{number}-{'x' * 200}", "Hello")
            async with session.post(f"{url}/v1/chat/completions", json=body) as answer:
                await answer.read()
                seen.add(answer.status)

    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(caller(session))
    return seen


async def test_ten_thousand_unknown_models_leave_no_trace_in_memory(stack: Stack, sample: Sample) -> None:
    await ask_for_strangers(stack.caller.url, 500)  # what is taken once is taken now
    before = resident_bytes(stack)
    assert await ask_for_strangers(stack.caller.url, STRANGERS) == {404}
    after = resident_bytes(stack)
    grown = {part: (after[part] - before[part]) // MEBIBYTE for part in before}
    assert max(grown.values()) < 24, f"MiB grown: {grown}"


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param((f"X-Long: {'x' * 100_000}",), id="one header of 100,000 bytes"),
        pytest.param(tuple(f"X-Many-{n}: x" for n in range(2_000)), id="2,000 headers"),
    ],
)
def test_headers_beyond_measure_are_refused(stack: Stack, sample: Sample, headers: tuple[str, ...]) -> None:
    received = wire.exchange(stack.caller.url, wire.post(chat_body(sample.model, "Hello"), *headers))
    assert wire.statuses(received) == [431]


def test_callers_that_never_finish_their_headers_are_cut_off_and_cost_others_nothing(
    stack: Stack, sample: Sample
) -> None:
    lorises = [wire.connect(stack.caller.url) for _ in range(LORISES)]
    begun = time.monotonic()
    try:
        for loris in lorises:
            loris.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\n")
        with Crowd(stack.caller.url, sample.model, count=4, max_tokens=4) as crowd:
            while time.monotonic() - begun < HEADER_SECONDS - 2:
                for loris in lorises:
                    loris.sendall(b"X-A: b\r\n")
                time.sleep(1)
        crowd.tally.all_answered(least=200)
        until("all cut off", lambda: all(_closed(loris) for loris in lorises), seconds=15)
    finally:
        for loris in lorises:
            loris.close()


def _closed(connection: socket.socket) -> bool:
    connection.settimeout(0.001)
    try:
        while piece := connection.recv(65536):
            assert piece.startswith(b"HTTP/1.1 408"), piece
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def test_a_secret_is_in_no_log_and_no_object_but_its_own(
    stack: Stack, sample: Sample, namespace: str, planted: str
) -> None:
    for header in ("Authorization", "x-api-key", "api-key"):
        value = f"Bearer {planted}" if header == "Authorization" else planted
        for model in (sample.model, "nobody/here"):
            wire.exchange(
                stack.caller.url,
                wire.post(chat_body(model, "Hello"), f"{header}: {value}", "Connection: close"),
            )
    found = [where for where, text in everything_said(stack, namespace) if planted in text]
    assert found == []


def everything_said(stack: Stack, namespace: str) -> Iterator[tuple[str, str]]:
    """Every log of Tertium and of the namespace's pods, and all that it has of objects but the Secrets."""
    kubectl = stack.cluster.kubectl
    for space in (SYSTEM, namespace):
        pods: list[dict[str, Any]] = json.loads(kubectl("-n", space, "get", "pods", "-o", "json"))["items"]
        for pod in pods:
            name = pod["metadata"]["name"]
            for container in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]:
                log = kubectl("-n", space, "logs", name, "-c", container["name"], "--tail=-1")
                yield f"log of {space}/{name} {container['name']}", log
        kinds = "llmd,deployments,pods,configmaps,jobs,leases,services,events"
        yield f"objects of {space}", kubectl("-n", space, "get", kinds, "-o", "yaml")

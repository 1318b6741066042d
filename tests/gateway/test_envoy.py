"""What callers get from the real Envoy and the activator's own answers, and how Envoy is protected."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tertium.kube.cluster import LLM_DEPLOYMENT, POD
from tests.gateway.parts import a_condition, a_deployment, a_pod
from tests.gateway.stack import Stack, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT = "/v1/chat/completions"
JSON = "application/json"
NO_MODEL = "The body has no field `model` that names a model; GET /v1/models lists the names."
NOT_A_NAME = (
    "The field `model` is not the name of a model: a text of printable ASCII characters was expected."
)


@pytest.mark.parametrize(
    ("sent", "status", "code", "message"),
    [
        pytest.param(
            ("POST", CHAT, JSON, '{"model": "nobody"}'),
            404,
            "model_not_found",
            "The model 'nobody' does not exist. GET /v1/models lists those that do.",
            id="an unknown model is named",
        ),
        pytest.param(("POST", CHAT, JSON, '{"messages": []}'), 400, "model_missing", NO_MODEL, id="no model"),
        pytest.param(("POST", CHAT, JSON, "[1]"), 400, "model_missing", NO_MODEL, id="a list"),
        pytest.param(("POST", CHAT, JSON, ""), 400, "model_missing", NO_MODEL, id="an empty body"),
        pytest.param(
            ("POST", CHAT, JSON, '{"model": null}'),
            400,
            "model_missing",
            NO_MODEL,
            id="a model that is null",
        ),
        pytest.param(
            ("POST", CHAT, JSON, '{"model": 5}'),
            400,
            "model_invalid",
            NOT_A_NAME,
            id="a model that is a number",
        ),
        pytest.param(
            ("POST", CHAT, JSON, '{"model": "a\\r\\nx-tertium-deployment: team/m"}'),
            400,
            "model_invalid",
            NOT_A_NAME,
            id="a model that would inject a header",
        ),
        pytest.param(
            ("POST", CHAT, JSON, '{"model":'),
            400,
            "body_not_json",
            "The request body is not valid JSON.",
            id="a body that is not JSON",
        ),
        pytest.param(
            ("POST", CHAT, "text/plain", '{"model": "m"}'),
            415,
            "unsupported_content_type",
            "The header Content-Type is 'text/plain'; 'application/json' was expected.",
            id="a wrong content type",
        ),
        pytest.param(
            ("GET", "/v1/chat/completions", JSON, ""),
            405,
            "method_not_allowed",
            "GET is not allowed at '/v1/chat/completions'; requests for a model are POST.",
            id="a wrong method",
        ),
        pytest.param(
            ("DELETE", "/v1/models/m", JSON, ""),
            405,
            "method_not_allowed",
            "DELETE is not allowed at '/v1/models'; models are read with GET.",
            id="deleting a model",
        ),
        pytest.param(
            ("POST", "/sleep", JSON, '{"model": "m"}'),
            404,
            "path_not_found",
            "There is nothing at '/sleep'. The API is under /v1/.",
            id="a path outside the API",
        ),
        pytest.param(
            ("POST", "/v1/..%2Fsleep", JSON, '{"model": "m"}'),
            404,
            "path_not_found",
            "There is nothing at '/sleep'. The API is under /v1/.",
            id="a path that climbs out of the API",
        ),
        pytest.param(
            ("GET", "/v1/models/no%2Fbody", JSON, ""),
            404,
            "model_not_found",
            "The model 'no/body' does not exist. GET /v1/models lists those that do.",
            id="an unknown model by path",
        ),
    ],
)
async def test_a_bad_request_is_told_what_is_wrong(
    stack: Stack, sent: tuple[str, str, str, str], status: int, code: str, message: str
) -> None:
    method, path, content_type, body = sent
    reply = await stack.send(body, method=method, path=path, headers={"Content-Type": content_type})
    assert (reply.status, reply.error["code"], reply.error["message"]) == (status, code, message)
    assert reply.error["type"] == "invalid_request_error"
    assert reply.headers["content-type"].startswith("application/json")


async def test_a_compressed_body_is_refused_by_its_encoding(stack: Stack) -> None:
    reply = await stack.send(b"\x1f\x8b\x08", headers={"Content-Encoding": "gzip"})
    assert (reply.status, reply.error["code"]) == (415, "unsupported_content_encoding")


async def test_a_body_over_the_limit_is_refused_by_envoy_in_the_same_shape(stack: Stack) -> None:
    # curl, because it reads an answer that comes before it has sent everything.
    command = f"head -c {33 << 20} /dev/zero | curl -s -w '%{{http_code}}' -H 'Content-Type: {JSON}'"
    process = await asyncio.create_subprocess_shell(
        f"{command} --data-binary @- {stack.url}{CHAT}", stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    text = output.decode()
    assert text.endswith("413")
    error = json.loads(text.removesuffix("413"))["error"]
    assert error == {
        "message": "The request body is larger than 32 MiB, the most this gateway takes.",
        "type": "invalid_request_error",
        "param": None,
        "code": "request_too_large",
    }


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "APPLICATION/JSON",
        "application/json; charset=utf-8",
        "Application/Json;Charset=UTF-8",
        "application/json ; charset=utf-8",
    ],
)
async def test_any_spelling_of_the_content_type_is_routed(stack: Stack, content_type: str) -> None:
    key = await stack.deploy()
    await stack.add_replica(key, await stack.start_engine())
    reply = await stack.send(json.dumps({"model": str(key)}), headers={"Content-Type": content_type})
    assert (reply.status, reply.json["model"]) == (200, str(key))


async def test_private_headers_of_a_caller_reach_nobody(stack: Stack) -> None:
    key = await stack.deploy()
    engine = await stack.start_engine()
    await stack.add_replica(key, engine)
    sent = {
        "X-Tertium-Deployment": "team/other",
        "x-tertium-problem": "evil",
        "x-envoy-max-retries": "9",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "X-Tertium-Stream": "true",
        "X-Tertium-Resumed": "true",
        "X-Asked-Hold-Seconds": "9",
        "X-Request-Id": "mine",
    }
    reply = await stack.send(json.dumps({"model": key.name}), headers=sent)
    seen = {name.lower(): value for name, value in engine.requests[0].items()}
    assert reply.headers["x-request-id"] == seen["x-request-id"] == "mine"
    assert seen["x-tertium-deployment"] == str(key)
    ours = {"x-tertium-deployment", "x-request-id"}
    assert not {name.lower() for name in sent} - ours & seen.keys()
    assert not [name for name in reply.headers if name.startswith(("x-envoy", "x-tertium"))]


async def test_every_post_under_v1_reaches_the_model_with_its_path(stack: Stack) -> None:
    key = await stack.deploy()
    await stack.add_replica(key, await stack.start_engine())
    reply = await stack.send(json.dumps({"model": key.name}), path="/v1/embeddings?x=1")
    assert reply.json["path"] == "/v1/embeddings"


async def test_models_are_listed_asleep_or_not_with_their_state(stack: Stack) -> None:
    asleep, awake, waking = [await stack.deploy() for _ in range(3)]
    await stack.add_replica(awake, await stack.start_engine())
    stack.cluster.put(POD, a_pod(waking))
    failed = a_condition("Planned", "False", "DoesNotFit", "needs 3 GPUs of 80 GiB")
    broken = await stack.deploy(conditions=(failed,))
    await until(lambda: stack.gateway.world.state(waking, awaited=False) == "waking")

    listed = (await stack.send("", method="GET", path="/v1/models")).json
    assert listed["object"] == "list"
    by_id: dict[str, Any] = {item["id"]: item for item in listed["data"]}
    assert by_id[asleep.name] == {
        "id": asleep.name,
        "object": "model",
        "created": 1735689600,
        "owned_by": "team",
        "tertium": {"deployment": str(asleep), "state": "idle"},
    }
    assert [by_id[key.name]["tertium"]["state"] for key in (awake, waking)] == ["serving", "waking"]
    assert by_id[broken.name]["tertium"] == {
        "deployment": str(broken),
        "state": "unavailable",
        "reason": "DoesNotFit",
        "message": "needs 3 GPUs of 80 GiB",
    }
    for name in (awake.name, str(awake), f"{awake.namespace}%2F{awake.name}"):
        one = (await stack.send("", method="GET", path=f"/v1/models/{name}")).json
        assert one["tertium"] == {"deployment": str(awake), "state": "serving"}


async def test_a_short_name_that_two_claim_stays_with_the_older(stack: Stack) -> None:
    older = await stack.deploy(served_name="shared", created="2024-01-01T00:00:00Z")
    newer = await stack.deploy(served_name="shared", created="2024-06-01T00:00:00Z")
    engines = [await stack.start_engine() for _ in range(2)]
    for key, engine in zip((newer, older), engines, strict=True):
        await stack.add_replica(key, engine)
    assert (await stack.ask("shared")).json["by"] == engines[1].ip
    assert (await stack.ask(str(newer))).json["by"] == engines[0].ip


async def test_a_deployment_pinned_to_zero_is_refused_at_once(stack: Stack) -> None:
    key = await stack.deploy(replicas=0)
    reply = await stack.ask(key.name)
    assert (reply.status, reply.error["code"]) == (503, "model_unavailable")
    assert reply.error["message"] == (
        f"The model '{key}' cannot be started (PinnedToZero): "
        "its `spec.replicas` is pinned to 0; raise or remove it and requests wake the model"
    )


async def test_a_removed_model_is_unknown(stack: Stack) -> None:
    key = await stack.deploy()
    await stack.add_replica(key, await stack.start_engine())
    stack.cluster.remove(LLM_DEPLOYMENT, key)
    await until(lambda: key not in stack.gateway.world.table.models)
    await stack.settled()
    assert (await stack.ask(str(key))).error["code"] == "model_not_found"


async def test_liveness_and_readiness_are_answered(stack: Stack) -> None:
    assert await stack.health() == 200
    for path in ("livez", "readyz"):
        async with stack.session.get(f"http://127.0.0.1:{stack.report_port}/{path}") as answer:
            assert (answer.status, await answer.text()) == (200, "ok\n")


async def test_a_schema_that_is_not_followed_leaves_the_deployment_out(stack: Stack) -> None:
    broken = a_deployment("broken-spec", coldStart={"holdSeconds": 0})
    stack.cluster.put(LLM_DEPLOYMENT, broken)
    await until(lambda: stack.gateway.world.skipped)
    assert list(stack.gateway.world.skipped.values()) == [
        "spec.coldStart.holdSeconds: Input should be greater than or equal to 1"
    ]
    assert (await stack.ask("broken-spec")).status == 404

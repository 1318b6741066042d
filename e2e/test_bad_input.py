"""What a user sees who gets something wrong: the field, the rule, what to do."""

from __future__ import annotations

import json

import pytest
import yaml

from e2e.caller import chat_body
from e2e.stack import Stack

pytestmark = pytest.mark.e2e


def manifest(namespace: str, **spec: object) -> str:
    model = {"source": "pvc://models/smollm2-135m-instruct"}
    return yaml.safe_dump(
        {
            "apiVersion": "tertium.dev/v1alpha1",
            "kind": "LLMDeployment",
            "metadata": {"name": "wrong", "namespace": namespace},
            "spec": {"model": model, **spec},
        }
    )


@pytest.mark.parametrize(
    ("spec", "field", "rule"),
    [
        pytest.param({"model": {}}, "spec.model.source", "Required value", id="no source"),
        pytest.param(
            {"model": {"source": "ftp://host/model"}},
            "spec.model.source",
            "use hf://ORG/NAME or pvc://CLAIM/PATH",
            id="an unknown scheme",
        ),
        pytest.param(
            {"capacity": {"contextTokens": 0}}, "spec.capacity.contextTokens", "greater than or equal to 16",
            id="a context of nothing",
        ),
        pytest.param(
            {"scaling": {"minReplicas": 3, "maxReplicas": 2}}, "spec.scaling", "minReplicas",
            id="more at least than at most"
        ),
        pytest.param(
            {"scaling": {"idleSeconds": "soon"}}, "spec.scaling.idleSeconds", "integer", id="no number"
        ),
        pytest.param({"nonsense": 1}, "spec.nonsense", "unknown field", id="a field that does not exist"),
    ],
)  # fmt: skip
def test_kubectl_names_the_field_and_the_rule(
    stack: Stack, namespace: str, spec: dict[str, object], field: str, rule: str
) -> None:
    error = stack.refused(manifest(namespace, **spec))
    assert field in error
    assert rule in error


def test_an_impossible_tensor_parallel_size_is_refused_with_the_rule(stack: Stack, namespace: str) -> None:
    wrong = stack.apply(manifest(namespace, parallelism={"tensor": 2}))
    wrong.wait_condition("Planned", "False", seconds=60)
    planned = wrong.condition("Planned")
    assert planned["reason"] == "Invalid"
    assert "9 attention heads do not divide by 2" in planned["message"]
    answer = stack.caller.chat(wrong.model)
    assert answer.status == 503
    assert "9 attention heads do not divide by 2" in answer.error["message"]
    wrong.delete()


def test_a_model_that_does_not_exist_fails_its_callers_at_once(stack: Stack, namespace: str) -> None:
    wrong = stack.apply(manifest(namespace, model={"source": "pvc://models/no-such-model"}))
    wrong.wait_condition("Planned", "False", seconds=60)
    planned = wrong.condition("Planned")
    assert planned["reason"] == "ModelNotFound"
    assert "no-such-model" in planned["message"]
    assert wrong.condition("Ready")["status"] == "False"
    answer = stack.caller.chat(wrong.model)
    assert answer.status == 503
    assert answer.seconds < 2
    assert "no-such-model" in answer.error["message"]
    wrong.delete()


def test_callers_held_for_a_model_that_turns_out_missing_are_told_at_once(
    stack: Stack, namespace: str
) -> None:
    wrong = stack.apply(manifest(namespace, model={"source": "pvc://models/not-there-either"}))
    answer = stack.caller_until_routed(wrong.model)
    assert answer.status == 503
    assert answer.seconds < 30
    assert "not-there-either" in answer.error["message"]
    wrong.delete()


OVER_LIMIT = json.dumps(chat_body("any/model", "x" * (33 << 20))).encode()


@pytest.mark.parametrize(
    ("body", "content_type", "status", "message"),
    [
        pytest.param(b'{"messages": []}', "application/json", 400, "model", id="a body without model"),
        pytest.param(b"model=gpt", "application/json", 400, "JSON", id="a body that is not JSON"),
        pytest.param(b'{"model": "a/b"}', "text/plain", 415, "application/json", id="a wrong content type"),
        pytest.param(b'{"model": "a/b"}', "application/json", 404, "a/b", id="a model nobody has"),
        pytest.param(OVER_LIMIT, "application/json", 413, "32 MiB", id="a body over the limit"),
    ],
)
def test_a_bad_request_gets_an_error_in_the_shape_of_openai(
    stack: Stack, body: bytes, content_type: str, status: int, message: str
) -> None:
    answer = stack.caller.post("/v1/chat/completions", body, content_type=content_type)
    assert answer.status == status
    assert message in answer.error["message"]

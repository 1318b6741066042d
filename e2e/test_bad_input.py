"""What a user sees who gets something wrong: the field, the rule, what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from kubernetes import client, config

from e2e.bad_input import GOOD_MODEL, REFUSED, largest_spec
from e2e.caller import chat_body
from e2e.stack import DOUBLE_IMAGE, Sample, Stack
from tertium.api.crd import object_schema

pytestmark = pytest.mark.e2e


def deployment(namespace: str, name: str = "wrong", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "tertium.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"model": GOOD_MODEL, **spec},
    }


def manifest(namespace: str, **spec: Any) -> str:
    return yaml.safe_dump(deployment(namespace, **spec))


class Server:
    """The API server itself, which answers in milliseconds what kubectl prints."""

    def __init__(self, stack: Stack, namespace: str) -> None:
        self._where = ("tertium.dev", "v1alpha1", namespace, "llmdeployments")
        self._api = client.CustomObjectsApi(config.new_client_from_config(str(stack.cluster.kubeconfig)))

    def create(self, body: dict[str, Any], **how: Any) -> str:
        """Create the object; return the words of a refusal, or nothing."""
        return self._words(self._api.create_namespaced_custom_object, body, field_validation="Strict", **how)

    def change(self, name: str, **spec: Any) -> str:
        """Merge `spec` into an object, and store nothing; return the words of a refusal, or nothing."""
        patch = self._api.patch_namespaced_custom_object
        return self._words(patch, name, {"spec": spec}, dry_run="All")

    def get(self, name: str) -> dict[str, Any]:
        return dict(self._api.get_namespaced_custom_object(*self._where, name))

    def delete(self, name: str) -> None:
        self._api.delete_namespaced_custom_object(*self._where, name)

    def _words(self, verb: Any, *args: Any, **how: Any) -> str:
        try:
            verb(*self._where, *args, **how)
        except client.ApiException as error:
            return str(json.loads(error.body)["message"])
        return ""


@pytest.fixture(scope="module")
def server(stack: Stack, namespace: str) -> Server:
    return Server(stack, namespace)


@pytest.mark.parametrize(("spec", "field", "rule"), REFUSED)
def test_a_wrong_spec_is_refused_by_its_field_and_the_rule(
    server: Server, namespace: str, spec: dict[str, Any], field: str, rule: str
) -> None:
    refusal = server.create(deployment(namespace) | {"spec": spec}, dry_run="All")
    assert field in refusal
    assert rule in refusal


@pytest.mark.parametrize(
    ("spec", "field", "rule"),
    [
        pytest.param(
            {"nonsense": 1}, 'unknown field "spec.nonsense"', "strict decoding", id="an unknown field"
        ),
        pytest.param({"model": {}}, "spec.model.source", "Required value", id="a missing one"),
        pytest.param(
            {"scaling": {"minReplicas": 3}},
            "spec.scaling.minReplicas",
            "raise maxReplicas",
            id="a contradiction",
        ),
    ],
)
def test_kubectl_prints_what_the_api_server_says(
    stack: Stack, namespace: str, spec: dict[str, Any], field: str, rule: str
) -> None:
    error = stack.refused(manifest(namespace, **spec))
    assert field in error
    assert rule in error


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        pytest.param("modèle", "RFC 1123 subdomain", id="an accent"),
        pytest.param("Model", "RFC 1123 subdomain", id="a capital letter"),
        pytest.param("a;reboot", "RFC 1123 subdomain", id="a command"),
        pytest.param("../../etc", "RFC 1123 subdomain", id="a path"),
        pytest.param("x" * 254, "must be no more than 253", id="too long a name"),
    ],
)
def test_a_name_no_object_can_have_is_refused(server: Server, namespace: str, name: str, rule: str) -> None:
    refusal = server.create(deployment(namespace, name), dry_run="All")
    assert "metadata.name: Invalid value" in refusal
    assert rule in refusal


@pytest.fixture
def named(server: Server, namespace: str) -> Iterator[str]:
    model = {**GOOD_MODEL, "servedName": "mine"}
    assert server.create(deployment(namespace, "named", model=model, suspend=True)) == ""
    yield "named"
    server.delete("named")


@pytest.mark.parametrize(
    "name", [pytest.param("yours", id="another name"), pytest.param(None, id="the object's own name")]
)
def test_a_served_name_cannot_be_changed(server: Server, named: str, name: str | None) -> None:
    refusal = server.change(named, model={"servedName": name})
    assert "spec.model.servedName" in refusal
    assert "servedName cannot be changed" in refusal
    assert "delete this one and create it anew" in refusal


def test_everything_else_of_the_model_can_be_changed(server: Server, named: str) -> None:
    assert server.change(named, model={"source": "hf://Qwen/Qwen3-8B", "revision": "main"}) == ""


HOSTILE: Final = (
    *(
        "$(HOME)",
        "$$(HOME)",
        "${HOME}",
        "$(reboot)",
        "`reboot`",
        "; reboot",
        "| tee /x",
        "a\nb",
        "a\tb",
        "\\",
    ),
    *(
        "{{ .Values.x }}",
        "%s%n",
        "'",
        '"',
        "---",
        "- x: &a [*a]",
        "!!python/object:os.system",
        "yes",
        "0x10",
        "~",
    ),
    *(
        "模型",
        "é",
        "e\u0301",
        "😀",
        "\u202egnp",
        "\u200b",
        "\ufeff",
        " ",
        "--a=b c",
        "</script>",
        "\x1b[31m",
        "#",
    ),
)


def test_strings_of_all_kinds_are_stored_as_they_are(server: Server, namespace: str) -> None:
    engine = {
        "args": list(HOSTILE),
        "env": [{"name": f"V{number}", "value": value} for number, value in enumerate(HOSTILE)],
    }
    template = {"annotations": {f"a{number}": value for number, value in enumerate(HOSTILE)}}
    strange = deployment(namespace, "strange", engine=engine, template=template, suspend=True)
    assert server.create(strange) == ""
    assert server.get("strange")["spec"] == strange["spec"]
    server.delete("strange")


def test_the_engine_gets_strings_of_all_kinds_as_they_are(stack: Stack, namespace: str) -> None:
    if stack.cluster.backend.kind == "external":
        pytest.skip("the engine's process is not on this machine")
    arguments = [f"--x{number}={value}" for number, value in enumerate(HOSTILE)]
    variables = {f"X{number}": value for number, value in enumerate(HOSTILE)}
    engine = {
        "image": DOUBLE_IMAGE,
        "args": arguments,
        "env": [{"name": name, "value": value} for name, value in variables.items()],
    }
    strange = stack.apply(manifest(namespace, engine=engine, scaling={"minReplicas": 1}))
    strange.wait_condition("Active", "True", seconds=60)
    process = next(
        folder for folder in Path("/proc").glob("[0-9]*") if arguments[0] in words(folder, "cmdline")
    )
    assert [word for word in words(process, "cmdline") if word.startswith("--x")] == arguments
    got = dict(word.split("=", 1) for word in words(process, "environ") if "=" in word)
    assert {name: got[name] for name in variables} == variables
    strange.delete()


def words(process: Path, file: str) -> list[str]:
    """The texts of a file of /proc; none where the process has ended."""
    try:
        return (process / file).read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def test_a_spec_of_the_largest_size_is_stored_and_answered(
    stack: Stack, server: Server, namespace: str
) -> None:
    spec = largest_spec()
    assert not list(unfilled("spec", object_schema()["properties"]["spec"], spec))
    largest = Sample(cluster=stack.cluster, namespace=namespace, name="x" * 253)
    assert server.create({**deployment(namespace, largest.name), "spec": spec}) == ""
    assert server.get(largest.name)["spec"] == spec
    largest.wait_condition("Accepted", "True", seconds=30)
    assert largest.condition("Planned")["status"] != "True"
    largest.delete()


def test_a_spec_that_the_cluster_cannot_store_is_refused(server: Server, namespace: str) -> None:
    wide = "😀" * 4096
    engine = {"args": [wide] * 64, "env": [{"name": f"V{number}", "value": wide} for number in range(64)]}
    assert "too large" in server.create(deployment(namespace, engine=engine))


def unfilled(path: str, schema: dict[str, Any], value: Any) -> Iterator[str]:
    """Yield where `value` could hold more: an absent field, a list, map or string that is not full."""
    for kind, bound in ((str, "maxLength"), (list, "maxItems"), (dict, "maxProperties")):
        if isinstance(value, kind) and bound in schema and len(value) < schema[bound]:
            yield f"{path}: {len(value)} of {schema[bound]}"
    if isinstance(value, dict):
        yield from (f"{path}.{name}" for name in schema.get("properties", {}).keys() - value.keys())
        for name, one in value.items():
            inner = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
            if inner:
                yield from unfilled(f"{path}.{name}", inner, one)
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from unfilled(f"{path}[{number}]", schema["items"], one)


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

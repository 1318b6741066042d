"""What the engine's arguments and variables may not say."""

from __future__ import annotations

from typing import Any

import pytest

from tertium.core.arguments import argument_error, options, variable_error
from tests.factories import an_owner

PLANNED = ("--tensor-parallel-size=2", "--max-model-len=2048", "--gpu-memory-utilization=0.92")


def error(args: list[str], planned: tuple[str, ...] = PLANNED, **spec: Any) -> str | None:
    return argument_error(an_owner({"engine": {"args": args}, **spec}).spec, planned)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        pytest.param(
            ["--max-model-len=4096"],
            "spec.engine.args[0]: '--max-model-len=4096' contradicts spec.capacity.contextTokens, which "
            "says 2048; "
            "remove it, or set spec.capacity.contextTokens to 4096",
            id="another context, attached",
        ),
        pytest.param(
            ["--enforce-eager", "--max_model_len", "4k"],
            "spec.engine.args[1]: '--max_model_len 4k' contradicts spec.capacity.contextTokens, which "
            "says 2048; "
            "remove it, or set spec.capacity.contextTokens to 4k",
            id="another context, apart, with underscores and a unit",
        ),
        pytest.param(
            ["--max-model-len", "-1"],
            "spec.engine.args[0]: '--max-model-len -1' contradicts spec.capacity.contextTokens, which "
            "says 2048; "
            "remove it, or set spec.capacity.contextTokens to -1",
            id="a negative number is a value",
        ),
        pytest.param(
            ["--max-model=4096"],
            "spec.engine.args[0]: '--max-model=4096' contradicts spec.capacity.contextTokens, which says "
            "2048; "
            "remove it, or set spec.capacity.contextTokens to 4096",
            id="an abbreviation, which the engine's parser takes",
        ),
        pytest.param(
            ["--max-num-seqs=9"],
            "spec.engine.args[0]: '--max-num-seqs=9' contradicts spec.capacity.concurrentSequences, which "
            "says 4; "
            "remove it, or set spec.capacity.concurrentSequences to 9",
            id="other concurrency",
        ),
        pytest.param(
            ["-tp4"],
            "spec.engine.args[0]: '-tp4' contradicts the plan, which says 2; remove it",
            id="a short option with its value attached",
        ),
        pytest.param(
            ["--gpu-memory-utilization", "0.95"],
            "spec.engine.args[0]: '--gpu-memory-utilization 0.95' contradicts the plan, which says 0.92; "
            "remove it",
            id="a planned flag",
        ),
        pytest.param(
            ["--max-model-len"],
            "spec.engine.args[0]: '--max-model-len' contradicts spec.capacity.contextTokens, which says "
            "2048; "
            "remove it",
            id="no value at all",
        ),
        pytest.param(
            ["--port=9"],
            "spec.engine.args[0]: '--port=9' contradicts Tertium, which says 8000; remove it",
            id="the port",
        ),
        pytest.param(
            ["--served-model-name", "x"],
            "spec.engine.args[0]: '--served-model-name x' is decided by spec.model.servedName; remove it",
            id="the name",
        ),
        pytest.param(
            ["-dpn", "2"],
            "spec.engine.args[0]: '-dpn 2' is decided by spec.scaling; remove it",
            id="one of a family of short options",
        ),
        pytest.param(
            ["--data-parallel-size-local=2"],
            "spec.engine.args[0]: '--data-parallel-size-local=2' is decided by spec.scaling; remove it",
            id="one of a family of long options",
        ),
        pytest.param(
            ["-n2"], "spec.engine.args[0]: '-n2' is decided by the plan; remove it", id="a number of nodes"
        ),
        pytest.param(
            ["--config", "/etc/vllm.yaml"],
            "spec.engine.args[0]: '--config /etc/vllm.yaml' is decided by Tertium, which cannot see into "
            "the file; "
            "remove it",
            id="a file with more options",
        ),
        pytest.param(
            ["other/model"],
            "spec.engine.args[0]: 'other/model' is the value of no option; put its option before it",
            id="a value without its option",
        ),
        pytest.param(
            ["-pp=2"],
            "spec.engine.args[0]: '-pp=2' contradicts the plan, which says 1; remove it",
            id="stages that were not planned",
        ),
    ],
)
def test_refused_arguments(args: list[str], message: str) -> None:
    assert error(args) == message


@pytest.mark.parametrize(
    "args",
    [
        pytest.param([], id="none"),
        pytest.param(
            ["--enforce-eager", "--tool-call-parser", "hermes"], id="options Tertium has no word in"
        ),
        pytest.param(["--max-model-len=2048"], id="the same context"),
        pytest.param(["--max-model-len=2K"], id="the same context in the engine's other spelling"),
        pytest.param(["-tp", "2"], id="the planned size"),
        pytest.param(["--gpu-memory-utilization=.920"], id="the planned share, written otherwise"),
        pytest.param(["--config-format=hf"], id="an option whose beginning is one of Tertium's"),
        pytest.param(["-O3", "-q", "awq"], id="other short options"),
        pytest.param(["--chat-template", "$(HOME); rm -rf /", "--override", "日本語"], id="hostile words"),
    ],
)
def test_allowed_arguments(args: list[str]) -> None:
    assert error(args) is None


def test_before_there_is_a_plan_the_spec_is_compared() -> None:
    assert error(["-tp4"], planned=()) is None
    assert error(["-tp4"], planned=(), parallelism={"tensor": 2}) == (
        "spec.engine.args[0]: '-tp4' contradicts spec.parallelism.tensor, which says 2; remove it, or set "
        "spec.parallelism.tensor to 4"
    )


def test_another_revision_is_refused() -> None:
    model = {"source": "hf://Qwen/Qwen3-8B", "revision": "main"}
    assert error(["--revision=v2"], model=model) == (
        "spec.engine.args[0]: '--revision=v2' contradicts spec.model.revision, which says main; remove "
        "it, or set "
        "spec.model.revision to v2"
    )


def test_a_plan_that_gave_something_up_is_compared_instead_of_the_spec() -> None:
    planned = ("--max-num-seqs=2",)
    assert error(["--max-num-seqs=4"], planned=planned) == (
        "spec.engine.args[0]: '--max-num-seqs=4' contradicts the plan, which says 2; remove it"
    )
    assert error(["--max-num-seqs=2"], planned=planned) is None


def test_options_know_their_place_and_value() -> None:
    found = [
        (option.index, option.name, option.value) for option in options(["-tp", "2", "--a_b=c", "-x", "--y"])
    ]
    assert found == [(0, "--tensor-parallel-size", "2"), (2, "--a-b", "c"), (3, "-x", None), (4, "--y", None)]


HUB = {"source": "hf://Qwen/Qwen3-8B", "credentialsSecretRef": {"name": "token"}}


@pytest.mark.parametrize(
    ("name", "value", "model", "message"),
    [
        pytest.param(
            "CUDA_VISIBLE_DEVICES",
            "0",
            None,
            "spec.engine.env[CUDA_VISIBLE_DEVICES] is decided by the kubelet, which gives the container "
            "its GPUs; "
            "remove it",
            id="GPUs",
        ),
        pytest.param(
            "VLLM_PORT", "1", None, "spec.engine.env[VLLM_PORT] is decided by Tertium; remove it", id="port"
        ),
        pytest.param(
            "VLLM_DP_SIZE",
            "2",
            None,
            "spec.engine.env[VLLM_DP_SIZE] is decided by spec.scaling; remove it",
            id="data parallelism",
        ),
        pytest.param(
            "VLLM_PP_LAYER_PARTITION",
            "1,2",
            None,
            "spec.engine.env[VLLM_PP_LAYER_PARTITION] is decided by the plan; remove it",
            id="what the plan rests on",
        ),
        pytest.param(
            "HF_TOKEN",
            "hf_secret",
            HUB,
            "spec.engine.env[HF_TOKEN] contradicts spec.model.credentialsSecretRef, which sets the token; "
            "remove it",
            id="a second token, whose value is not shown",
        ),
        pytest.param("HF_TOKEN", "hf_secret", None, None, id="a token where the spec names no Secret"),
        pytest.param("VLLM_LOGGING_LEVEL", "DEBUG", None, None, id="the engine's own settings"),
    ],
)
def test_variables(name: str, value: str, model: dict[str, Any] | None, message: str | None) -> None:
    spec: dict[str, Any] = {"engine": {"env": [{"name": name, "value": value}]}}
    assert variable_error(an_owner({**spec, **({"model": model} if model else {})}).spec) == message

"""`tertium plan`: the planner by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tertium.cli import main
from tests.cli.plans import INDEX, QWEN_7B, QWEN_7B_BYTES, write_config

SIZE = ["--weight-bytes", str(QWEN_7B_BYTES)]
MANIFEST = """
apiVersion: v1
kind: Namespace
metadata: {name: team}
---
apiVersion: tertium.dev/v1alpha1
kind: LLMDeployment
metadata: {name: qwen}
spec:
  model: {source: pvc://models/qwen}
  capacity: {contextTokens: 16384, concurrentSequences: 16}
  accelerators: [{product: NVIDIA-H100-80GB-HBM3}, {product: NVIDIA-L4}]
"""


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(write_config(tmp_path / "qwen"))


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    file = tmp_path / "cr.yaml"
    file.write_text(MANIFEST)
    return file


def planned(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> dict[str, object]:
    assert main(["plan", *words, "-o", "json"]) == code
    answer: dict[str, object] = json.loads(capsys.readouterr().out)
    return answer


def test_a_config_and_a_size_are_enough(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    answer = planned(capsys, model, *SIZE, "--gpu", "NVIDIA-L4")
    plan = answer["plan"]
    assert isinstance(plan, dict)
    assert (plan["accelerator"], plan["gpusPerReplica"], plan["tensorParallelSize"]) == ("NVIDIA-L4", 1, 1)
    assert {"--max-model-len=8192", "--max-num-seqs=64"} < set(plan["flags"])


def test_an_index_tells_the_size_when_the_weights_are_elsewhere(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    by_flag = planned(capsys, model, "--weight-bytes", "60000000000", "--gpu", "NVIDIA-L4")
    (Path(model) / INDEX).write_text(json.dumps({"metadata": {"total_size": 60_000_000_000.0}}))
    assert planned(capsys, model, "--gpu", "NVIDIA-L4") == by_flag


def test_every_flag_of_the_command_line_reaches_the_engine(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--context", "4096", "--max-num-seqs", "32", "--max-num-batched-tokens", "1024"]
    words += ["--gpu-memory-utilization", "0.85", "--kv-cache", "fp8", "--enforce-eager"]
    words += ["--tensor-parallel", "2", "--pipeline-parallel", "2"]
    plan = planned(capsys, model, *SIZE, "--gpu", "NVIDIA-L4", *words)["plan"]
    assert isinstance(plan, dict)
    assert plan["gpusPerReplica"] == 4
    assert {
        "--tensor-parallel-size=2",
        "--pipeline-parallel-size=2",
        "--max-model-len=4096",
        "--max-num-seqs=32",
        "--max-num-batched-tokens=1024",
        "--gpu-memory-utilization=0.85",
        "--kv-cache-dtype=fp8",
        "--enforce-eager",
    } <= set(plan["flags"])


def test_the_release_of_the_engine_decides_its_defaults(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    old = planned(capsys, model, *SIZE, "--gpu", "NVIDIA-L4", "--vllm-version", "0.19.0")["plan"]
    assert isinstance(old, dict)
    assert "--gpu-memory-utilization=0.90" in old["flags"]


def test_gpus_are_compared_and_the_smallest_that_does_is_taken(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    gpus = ["--gpu", "NVIDIA-T4", "--gpu", "NVIDIA-L4", "--gpu", "Mine:81920"]
    answer = planned(capsys, model, *SIZE, *gpus)
    plan, candidates = answer["plan"], answer["candidates"]
    assert isinstance(plan, dict)
    assert isinstance(candidates, list)
    assert plan["accelerator"] == "NVIDIA-L4"
    tried = [(entry["gpu"], entry["gpus"], entry["fits"]) for entry in candidates]
    assert tried == [
        ("NVIDIA-T4", 1, False),
        ("NVIDIA-T4", 2, True),
        ("NVIDIA-L4", 1, True),
        ("Mine", 1, True),
    ]


def test_without_gpus_every_known_one_is_compared(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    candidates = planned(capsys, model, *SIZE)["candidates"]
    assert isinstance(candidates, list)
    assert {"H100", "L4", "A100-80GB"} < {entry["gpu"] for entry in candidates}


def test_a_manifest_says_what_is_wanted(
    model: str, manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned(capsys, "-f", str(manifest), model, *SIZE)["plan"]
    assert isinstance(plan, dict)
    assert plan["accelerator"] == "NVIDIA-H100-80GB-HBM3"
    assert {"--max-model-len=16384", "--max-num-seqs=16"} < set(plan["flags"])


def test_flags_go_before_the_manifest(model: str, manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["-f", str(manifest), model, *SIZE, "--gpu", "NVIDIA-L4", "--gpu", "NVIDIA-T4"]
    plan = planned(capsys, *words, "--context", "2048", "--concurrency", "4")["plan"]
    assert isinstance(plan, dict)
    assert plan["accelerator"] == "NVIDIA-L4"
    assert {"--max-model-len=2048", "--max-num-seqs=4"} < set(plan["flags"])


def test_a_replica_spans_nodes_where_it_may(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [model, "--weight-bytes", "60000000000", "--gpu", "NVIDIA-L4", "--gpus-per-node", "2"]
    refused = planned(capsys, *words, code=3)["refused"]
    assert isinstance(refused, dict)
    assert "over 2 nodes, where one replica may span them" in refused["message"]
    plan = planned(capsys, *words, "--nodes", "2")["plan"]
    assert isinstance(plan, dict)
    assert (plan["nodes"], plan["gpusPerReplica"]) == (2, 4)


def test_what_does_not_fit_is_exit_code_3(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    answer = planned(capsys, model, *SIZE, "--gpu", "Tiny:4096", "--gpus-per-node", "2", code=3)
    refused = answer["refused"]
    assert isinstance(refused, dict)
    assert refused["reason"] == "DoesNotFit"
    assert refused["message"].startswith("Tiny (")
    assert "What works: " in refused["message"]


@pytest.mark.parametrize(
    ("model", "reader", "asked"),
    [
        pytest.param("Qwen/Qwen2.5-7B", "inspect_hub", "Qwen/Qwen2.5-7B", id="a hub's id"),
        pytest.param("hf://Qwen/Qwen2.5-7B", "inspect_hub", "Qwen/Qwen2.5-7B", id="a hub's source"),
        pytest.param("s3://bucket/qwen", "inspect_bucket", "s3://bucket/qwen", id="a bucket's source"),
    ],
)
def test_a_model_may_be_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: str, reader: str, asked: str
) -> None:
    def inspect(*where: object) -> dict[str, object]:
        assert asked in where
        return {"config": QWEN_7B, "weightBytes": QWEN_7B_BYTES}

    monkeypatch.setattr(f"tertium.cli.plan_subject.{reader}", inspect)
    plan = planned(capsys, model, "--gpu", "NVIDIA-L4")["plan"]
    assert isinstance(plan, dict)
    assert plan["gpusPerReplica"] == 1


def test_more_nodes_are_spanned_only_when_the_command_line_asks_for_more_gpus(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [model, *SIZE, "--gpu", "Tiny:6000", "--gpus-per-node", "2"]
    planned(capsys, *words, code=3)
    plan = planned(capsys, *words, "--tensor-parallel", "2", "--pipeline-parallel", "4")["plan"]
    assert isinstance(plan, dict)
    assert (plan["gpusPerReplica"], plan["nodes"]) == (8, 4)


def test_yaml_says_the_same_as_json(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [model, *SIZE, "--gpu", "NVIDIA-L4"]
    as_json = planned(capsys, *words)
    assert main(["plan", *words, "-o", "yaml"]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == as_json


def test_help_tells_exit_codes_and_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["plan", "--help"])
    out = capsys.readouterr().out
    assert ended.value.code == 0
    assert "3  it does not fit" in out
    assert "tertium plan -f llmdeployment.yaml" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(
            [], "what to plan for is missing; give MODEL, or -f with an LLMDeployment", id="no model"
        ),
        pytest.param(
            ["MODEL", "--gpu", "L4:many"],
            "--gpu: 'L4:many' is not NAME or NAME:MIB, as in NVIDIA-L4 or My-GPU:23034",
            id="a memory that is no number",
        ),
        pytest.param(
            ["MODEL", "--max-num-seqs", "8", "--concurrency", "16"],
            "--max-num-seqs: 8 is less than --concurrency, 16",
            id="sequences that contradict the concurrency",
        ),
        pytest.param(
            ["/no/such"], "/no/such is no folder here, and no model of a hub as ORG/NAME", id="no such folder"
        ),
        pytest.param(
            ["pvc://models/qwen"],
            "pvc://models/qwen is inside a cluster; give the model's folder as MODEL",
            id="a claim",
        ),
        pytest.param(
            ["ftp://host/x"],
            "spec.model.source: 'ftp://host/x' is neither hf://ORG/NAME nor pvc://CLAIM/PATH",
            id="an unknown kind of source",
        ),
        pytest.param(
            ["MODEL", "-o", "jsonl"],
            "-o jsonl goes with --batch; use -o json for one model",
            id="jsonl of one",
        ),
        pytest.param(
            ["MODEL", "--batch", "rows.jsonl"],
            "--batch takes its models from ROWS; leave out MODEL and -f",
            id="a model beside a batch",
        ),
        pytest.param(
            ["--batch", "rows.jsonl", "-o", "yaml"],
            "-o yaml does not go with --batch; its answers are jsonl",
            id="a batch as YAML",
        ),
        pytest.param(
            ["--batch", "/no/such"], "--batch: /no/such: No such file or directory", id="no such batch"
        ),
    ],
)
def test_bad_input_is_exit_code_2_and_one_sentence(
    model: str, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["plan", *(model if word == "MODEL" else word for word in words)]) == 2
    assert capsys.readouterr().err == f"tertium plan: {message}\n"


def test_an_unknown_gpu_is_answered_with_the_known_ones(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", model, "--gpu", "Abacus"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(
        "tertium plan: the memory of Abacus is not known; tell it as Abacus:MIB, or use one of"
    )
    assert "H100" in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["--context", "0"], "argument --context: 0 is not between 1 and 2^62", id="zero tokens"),
        pytest.param(
            ["--context", "-5"], "argument --context: -5 is not between 1 and 2^62", id="fewer than none"
        ),
        pytest.param(
            ["--gpus-per-node", "two"], "argument --gpus-per-node: 'two' is not a whole number", id="words"
        ),
        pytest.param(
            ["--gpu-memory-utilization", "1.2"],
            "argument --gpu-memory-utilization: 1.2 is not between 0.01 and 1",
            id="more than all memory",
        ),
        pytest.param(
            ["--vllm-version", "latest"],
            "argument --vllm-version: 'latest' is no release, as 0.32.0 is",
            id="no release",
        ),
        pytest.param(
            ["--gpu-memory-utilization", "nan"],
            "argument --gpu-memory-utilization: nan is not between 0.01 and 1",
            id="a share that is no number",
        ),
    ],
)
def test_numbers_out_of_bounds_are_named_by_their_flag(
    model: str, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["plan", model, *words])
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith(f"error: {message}\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("kind: Pod", "FILE holds Pod; expected one LLMDeployment", id="another object"),
        pytest.param("", "FILE holds nothing; expected one LLMDeployment", id="an empty file"),
        pytest.param(
            f"{MANIFEST}---{MANIFEST}",
            "FILE holds Namespace, LLMDeployment, Namespace, LLMDeployment; expected one LLMDeployment",
            id="two of them",
        ),
        pytest.param(
            "kind: LLMDeployment\nspec: {model: {source: 7}}",
            "FILE: spec.model.source: Input should be a valid string",
            id="a field that breaks the schema",
        ),
        pytest.param(
            "kind: LLMDeployment\nspec: {model: {source: pvc://a/b}, scaling: {minReplicas: 3}}",
            "spec.scaling.minReplicas: 3 is more than maxReplicas, 1; lower it or raise maxReplicas",
            id="a contradiction that the operator would refuse",
        ),
        pytest.param(
            "a: [",
            "FILE is not YAML: while parsing a flow node expected the node content, but found "
            "'<stream end>' in \"<unicode string>\", line 1, column 5: a: [ ^",
            id="no YAML",
        ),
    ],
)
def test_a_bad_manifest_is_named_by_file_and_field(
    manifest: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    manifest.write_text(text)
    assert main(["plan", "-f", str(manifest)]) == 2
    assert capsys.readouterr().err == f"tertium plan: {message.replace('FILE', str(manifest))}\n"


def test_the_accelerators_of_a_manifest_must_be_among_the_gpus(
    model: str, manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "-f", str(manifest), model, "--gpu", "NVIDIA-T4"]) == 2
    assert capsys.readouterr().err == (
        "tertium plan: --gpu: spec.accelerators wants NVIDIA-H100-80GB-HBM3 or NVIDIA-L4, and there is "
        "NVIDIA-T4; name one of those it wants\n"
    )


@pytest.mark.parametrize(
    ("files", "message"),
    [
        pytest.param({}, "FOLDER: there is no config.json", id="an empty folder"),
        pytest.param({"config.json": "["}, "FOLDER: config.json is not JSON: ", id="a broken config"),
        pytest.param(
            {"config.json": "[]"}, "FOLDER: config.json holds a list, expected an object", id="a list"
        ),
        pytest.param(
            {"config.json": json.dumps({**QWEN_7B, "num_attention_heads": 0})},
            "num_attention_heads",
            id="no heads",
        ),
        pytest.param(
            {"config.json": json.dumps(QWEN_7B), INDEX: "{}"},
            f"FOLDER: {INDEX} tells no total_size, and there are no weights; give --weight-bytes",
            id="an index without a size",
        ),
        pytest.param(
            {"config.json": json.dumps(QWEN_7B), INDEX: json.dumps({"weight_map": {"a": "b.safetensors"}}),
             "c.safetensors": ""},
            f"FOLDER: {INDEX} names b.safetensors, which is not there; copy the model again",
            id="an index that names a missing file",
        ),
    ],
)  # fmt: skip
def test_a_folder_that_holds_no_model_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], files: dict[str, str], message: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert main(["plan", str(tmp_path), "--gpu", "NVIDIA-L4"]) == 2
    error = capsys.readouterr().err
    assert message.replace("FOLDER", str(tmp_path)) in error
    assert error.count("\n") == 1


def test_a_config_of_a_gigabyte_is_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(1 << 30)
    assert main(["plan", str(tmp_path), "--gpu", "NVIDIA-L4"]) == 2
    assert capsys.readouterr().err == (
        f"tertium plan: {tmp_path}: config.json has 1,073,741,824 bytes, which is no config.json\n"
    )


def test_the_engine_s_libraries_are_never_imported(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    import sys

    planned(capsys, model, *SIZE, "--gpu", "NVIDIA-L4")
    assert not {"torch", "vllm", "transformers"} & sys.modules.keys()

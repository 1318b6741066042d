"""`tertium plan`: the planner by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tertium.cli import main
from tests.loader.models import write_shard
from tests.planner.models import TINY_LLAMA

SMALL = "Fake-GPU-2GB:2048"
MANIFEST = """
apiVersion: tertium.dev/v1alpha1
kind: LLMDeployment
metadata: {name: tiny}
spec:
  model: {source: pvc://models/tiny}
  capacity: {contextTokens: 36864, concurrentSequences: 4}
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(TINY_LLAMA))
    write_shard(folder, "model.safetensors", "a")
    return folder


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    file = tmp_path / "cr.yaml"
    file.write_text(MANIFEST)
    return file


def test_a_plan_is_shown_as_a_table(model: Path, manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "-f", str(manifest), str(model), "--gpu", SMALL]) == 0
    out = capsys.readouterr().out
    assert "tensor parallel size  2\n" in out
    assert "memory per GPU        2,048 MiB, 1,828 usable\n" in out
    assert "why                   Fake-GPU-2GB (" in out


def test_a_plan_is_the_status_s_plan_in_json(
    model: Path, manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "-f", str(manifest), str(model), "--gpu", SMALL, "-o", "json"]) == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert (plan["accelerator"], plan["gpusPerReplica"]) == ("Fake-GPU-2GB", 2)


def test_without_a_manifest_the_api_s_defaults_are_planned_for(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(model), "--gpu", "NVIDIA-L4:23034"]) == 0
    assert "--max-model-len=8192 --max-num-seqs=64" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("output", "start"),
    [
        pytest.param("table", "DoesNotFit: Fake-GPU-2GB (", id="as text"),
        pytest.param("json", '{"refused": {"reason": "DoesNotFit", "message": "Fake-GPU-2GB (', id="as JSON"),
    ],
)
def test_a_refusal_is_exit_code_1(
    model: Path, manifest: Path, capsys: pytest.CaptureFixture[str], output: str, start: str
) -> None:
    words = ["-f", str(manifest), str(model), "--gpu", SMALL, "--gpus-per-node", "1", "-o", output]
    assert main(["plan", *words]) == 1
    assert capsys.readouterr().out.startswith(start)


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        pytest.param(
            MANIFEST,
            ["--gpu", "L4"],
            "--gpu: 'L4' is not PRODUCT:MIB, as in NVIDIA-L4:23034",
            id="a GPU without memory",
        ),
        pytest.param(
            MANIFEST,
            ["--gpu", SMALL, "--gpus-per-node", "0"],
            "--gpus-per-node: 0 is less than 1",
            id="a node without GPUs",
        ),
        pytest.param(
            MANIFEST,
            ["--gpu", SMALL],
            "pvc://models/tiny is inside a cluster; give the model's folder as MODEL_DIR",
            id="a claim cannot be read from here",
        ),
        pytest.param(
            "spec: {model: {source: 7}}",
            ["--gpu", SMALL],
            "FILE: spec.model.source: Input should be a valid string",
            id="a spec that breaks the schema is shown by field",
        ),
        pytest.param(
            "kind: Pod",
            ["--gpu", SMALL],
            "FILE holds no LLMDeployment: there is no spec",
            id="another object",
        ),
    ],
)
def test_bad_input_is_exit_code_2_and_one_sentence(
    manifest: Path, capsys: pytest.CaptureFixture[str], text: str, words: list[str], message: str
) -> None:
    manifest.write_text(text)
    assert main(["plan", "-f", str(manifest), *words]) == 2
    assert capsys.readouterr().err == f"tertium plan: {message.replace('FILE', str(manifest))}\n"


def test_nothing_to_plan_for_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--gpu", SMALL]) == 2
    assert capsys.readouterr().err == (
        "tertium plan: what to plan for is missing; give MODEL_DIR, or -f with an LLMDeployment\n"
    )

"""`tertium inspect`: one line of JSON, and exit codes that its Job can act on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tertium.cli import main
from tests.loader.models import TENSOR_BYTES, write_model


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9/")


def answer_of(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    code = main(["inspect", *words])
    out, err = capsys.readouterr()
    assert err == ""
    assert out.endswith("\n")
    assert out.count("\n") == 1
    return code, json.loads(out)


def test_facts_are_printed_on_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_model(tmp_path / "model")
    code, answer = answer_of(capsys, "pvc://claim/model", "--mount", str(tmp_path))
    assert code == 0
    assert list(answer) == ["facts"]
    assert sorted(answer["facts"]) == ["config", "digest", "revision", "tensors", "weightBytes"]
    assert answer["facts"]["weightBytes"] == 2 * TENSOR_BYTES


@pytest.mark.parametrize(
    ("source", "code", "error"),
    [
        pytest.param(
            "pvc://claim/other",
            1,
            {
                "reason": "ModelNotFound",
                "message": "pvc://claim/other: there is no folder other; in its place there is nothing",
            },
            id="a model that is not there fails for good",
        ),
        pytest.param(
            "s3://bucket/model",
            1,
            {
                "reason": "Invalid",
                "message": "spec.model.source: 's3://bucket/model' is neither hf://ORG/NAME nor pvc://CLAIM/PATH",
            },
            id="so does a source of no known form",
        ),
        pytest.param(
            "hf://org/name",
            3,
            {
                "reason": "InspectionFailed",
                "message": "hf://org/name: cannot reach http://127.0.0.1:9: [Errno 111] Connection refused",
            },
            id="a hub that cannot be reached may pass",
        ),
    ],
)
def test_an_error_is_printed_the_same_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, code: int, error: dict[str, str]
) -> None:
    assert answer_of(capsys, source, "--mount", str(tmp_path)) == (code, {"error": error})

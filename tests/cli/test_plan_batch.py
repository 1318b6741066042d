"""`tertium plan --batch`: one row in, one verdict out."""

from __future__ import annotations

import contextlib
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tertium.cli import main, plan_batch
from tertium.cli.plan_batch import judge_line
from tertium.core.errors import Terminal
from tests.cli.plans import QWEN_7B, row, write_config

KEYS = [
    *("id", "valid", "fits", "verdict", "reason", "tensorParallelSize", "pipelineParallelSize", "gpus"),
    *("memory", "availableKvMiB", "kvTokens", "maxConcurrency", "maxNumSeqs", "flags"),
]
USED = ["weightsMiB", "activationMiB", "nonTorchMiB", "cudaGraphMiB", "kvCacheMiB"]
PARTS = [*USED, "budgetMiB", "headroomMiB"]


def judged(**changes: Any) -> dict[str, Any]:
    return judge_line(json.dumps(row(**changes)), Path())


def test_a_verdict_has_every_key_in_this_order() -> None:
    answer = judged(tensorParallelSize=1)
    assert list(answer) == KEYS
    assert list(answer["memory"]) == PARTS


def test_the_parts_of_the_memory_add_up() -> None:
    answer = judged(tensorParallelSize=2)
    parts = answer["memory"]
    used = sum(parts[name] for name in USED)
    assert used + parts["headroomMiB"] == parts["budgetMiB"]
    assert answer["availableKvMiB"] == parts["kvCacheMiB"] + parts["headroomMiB"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param(
            {"tensorParallelSize": 2},
            {"valid": True, "fits": True, "gpus": 2, "tensorParallelSize": 2, "pipelineParallelSize": 1},
            id="a size that is given is judged though a smaller one would do",
        ),
        pytest.param(
            {"tensorParallelSize": 4, "gpusPerNode": 2},
            {"valid": True, "fits": True, "gpus": 4},
            id="a size that is given is judged whatever a node holds",
        ),
        pytest.param(
            {"pipelineParallelSize": 2},
            {"valid": True, "fits": True, "tensorParallelSize": 1, "pipelineParallelSize": 2},
            id="stages alone are judged with whole layers",
        ),
        pytest.param(
            {"tensorParallelSize": 3},
            {"valid": False, "fits": False, "verdict": "Invalid: 28 attention heads do not divide by 3"},
            id="a size that the engine refuses is invalid",
        ),
        pytest.param({}, {"fits": True, "gpus": 1}, id="without sizes the smallest that fits is found"),
        pytest.param(
            {"gpuMemoryMiB": 11000},
            {"fits": True, "gpus": 2},
            id="memory that is told goes before the known one",
        ),
        pytest.param(
            {"gpu": None, "gpuMemoryMiB": 22_500},
            {"fits": True, "gpus": 1},
            id="memory without a name is enough",
        ),
        pytest.param(
            {"gpuMemoryMiB": 4096},
            {"valid": True, "fits": False, "memory": {}},
            id="what fits nowhere is refused",
        ),
    ],
)
def test_shapes_are_judged_or_searched(changes: dict[str, Any], expected: dict[str, Any]) -> None:
    answer = judged(**changes)
    expected.pop("memory", None)
    assert {key: answer[key] for key in expected} == expected


def test_a_refusal_offers_what_would_work() -> None:
    answer = judged(tensorParallelSize=1, contextTokens=32768, gpuMemoryMiB=18_600)
    assert answer["fits"] is False
    assert answer["verdict"].startswith("DoesNotFit: ")
    assert "contextTokens ≤ " in answer["verdict"]


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        pytest.param({"maxNumSeqs": 32}, "--max-num-seqs=32", id="sequences"),
        pytest.param({"maxNumBatchedTokens": 1024}, "--max-num-batched-tokens=1024", id="tokens of a pass"),
        pytest.param(
            {"gpuMemoryUtilization": 0.29}, "--gpu-memory-utilization=0.29", id="a share of the memory"
        ),
        pytest.param(
            {"gpuMemoryUtilization": 0.925}, "--gpu-memory-utilization=0.92", id="a share cut to hundredths"
        ),
        pytest.param({"kvCacheDtype": "fp8_e4m3"}, "--kv-cache-dtype=fp8", id="8 bits for the cache"),
        pytest.param({"kvCacheDtype": "auto"}, "--kv-cache-dtype=auto", id="the cache as the model is"),
        pytest.param({"enforceEager": True}, "--enforce-eager", id="no graphs"),
        pytest.param({"vllmVersion": "0.19.0"}, "--gpu-memory-utilization=0.90", id="the release's default"),
    ],
)
def test_what_a_row_sets_is_emitted(changes: dict[str, Any], flag: str) -> None:
    assert flag in judged(tensorParallelSize=1, **changes)["flags"]


def test_null_is_as_good_as_absent() -> None:
    nulls = dict.fromkeys(
        ("vllmVersion", "kvCacheDtype", "quantization", "tensorParallelSize", "enforceEager")
    )
    assert judge_line(json.dumps({**row(), **nulls}), Path()) == judged()


def test_quantization_at_load_time_halves_the_weights() -> None:
    whole, halved = judged(tensorParallelSize=1), judged(tensorParallelSize=1, quantization="fp8")
    assert halved["memory"]["weightsMiB"] < 0.62 * whole["memory"]["weightsMiB"]


@pytest.mark.parametrize("name", ["model/config.json", "model"], ids=["as a file", "as a folder"])
def test_a_config_may_be_a_path_beside_the_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    write_config(tmp_path / "model")
    (tmp_path / "rows.jsonl").write_text(json.dumps(row(config=name)) + "\n\n" + json.dumps(row()) + "\n")
    assert main(["plan", "--batch", str(tmp_path / "rows.jsonl"), "-o", "jsonl"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first == second


def test_rows_may_come_by_standard_input() -> None:
    output = io.StringIO()
    assert plan_batch.run(Path("-"), io.StringIO(json.dumps(row(id=7))), output) == 0
    assert json.loads(output.getvalue())["id"] == 7


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param("{", "the row is not JSON: ", id="broken JSON"),
        pytest.param("[]", "the row holds a list, expected an object", id="a list"),
        pytest.param(
            json.dumps(row(contextTokens=None)), "contextTokens: Field required", id="a missing key"
        ),
        pytest.param(
            json.dumps(row(contextTokens=-1)),
            "contextTokens: Input should be greater than",
            id="a negative size",
        ),
        pytest.param(
            json.dumps(row(gpu=None)), "gpu or gpuMemoryMiB: both are missing; one is needed", id="no GPU"
        ),
        pytest.param(json.dumps(row(gpu="Abacus")), "the memory of Abacus is not known", id="an unknown GPU"),
        pytest.param(
            json.dumps(row(kvCacheDtype="int1")),
            "kvCacheDtype: Value error, 'int1' is not known; expected auto, bfloat16, float16 or fp8",
            id="an unknown precision",
        ),
        pytest.param(
            json.dumps(row(config="no/such")), "no: there is no such", id="a path that leads nowhere"
        ),
        pytest.param(
            json.dumps(row(config={**QWEN_7B, "num_attention_heads": 0})),
            "num_attention_heads",
            id="no heads",
        ),
        pytest.param(json.dumps(row(gpuMemoryUtilization=1.5)), "gpuMemoryUtilization: ", id="more than all"),
        pytest.param(
            json.dumps(row()).replace("8192", "1e400"), "contextTokens: ", id="a number beyond all numbers"
        ),
    ],
)
def test_a_bad_row_has_a_verdict_of_its_own_and_the_next_is_answered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, reason: str
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(f"{line}\n{json.dumps(row())}\n")
    assert main(["plan", "--batch", str(rows)]) == 2
    bad, good = map(json.loads, capsys.readouterr().out.splitlines())
    assert list(bad) == KEYS
    assert (bad["valid"], bad["fits"], bad["verdict"]) == (False, False, "BadInput")
    assert bad["reason"].startswith("row 1: ")
    assert reason in bad["reason"]
    assert good["fits"] is True


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
ROWS = st.fixed_dictionaries(
    {},
    optional={
        "config": st.dictionaries(st.sampled_from([*QWEN_7B, "quantization_config", "text_config"]), JSON)
        | JSON,
        **{key: JSON | st.integers(-1, 1 << 70) for key in row() if key not in ("config", "gpu")},
        "gpu": st.sampled_from(["H100", "T4"]) | JSON,
        "tensorParallelSize": st.integers(-1, 1 << 40),
        "pipelineParallelSize": st.integers(-1, 1 << 40),
    },
)


@settings(max_examples=60, deadline=None)
@given(changes=ROWS)
def test_no_row_crashes_the_planner(changes: dict[str, Any]) -> None:
    changed = {**row(), **changes}
    config = changed["config"]
    if isinstance(config, dict):
        changed["config"] = {**QWEN_7B, **config}
    with contextlib.suppress(Terminal):
        answer = judge_line(json.dumps(changed), Path("/nonexistent"))
        assert list(answer) == KEYS
        assert math.isfinite(answer["maxConcurrency"])

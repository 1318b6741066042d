"""The entrypoint of the engine-cpu image: what it adds to a command line that was written for a GPU."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


serve = load("images/engine-cpu/serve.py")


@pytest.mark.parametrize(
    ("size", "cores", "expected"),
    [
        pytest.param(None, [0], "0", id="one rank on one core"),
        pytest.param(None, [0, 1], "0", id="one rank leaves one of two cores to the server"),
        pytest.param("1", [0, 1, 2, 3], "0,1,2", id="and one of four"),
        pytest.param("2", [0, 1], "0|1", id="two ranks on two cores get one each"),
        pytest.param(
            "2",
            [0, 1, 2, 3, 4],
            "0|2",
            id="each rank leaves one of its share, and what cannot be shared evenly is left over",
        ),
        pytest.param("2", [4, 6], "4|6", id="only cores that the process may use are named"),
        pytest.param("4", [0, 1], "0|1|0|1", id="more ranks than cores take turns"),
        pytest.param("0", [0, 1], "0", id="a size of nothing is left to vLLM to refuse"),
        pytest.param("many", [0, 1], "0", id="what is no number is left to vLLM to refuse"),
    ],
)
def test_cores_of_ranks(size: str | None, cores: list[int], expected: str) -> None:
    assert serve.binding(size, cores) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param("m --tensor-parallel-size 2", "0|1", id="as a word of its own"),
        pytest.param("m --tensor-parallel-size=2 --port 1", "0|1", id="after an equals sign"),
        pytest.param("m --tensor_parallel_size 2", "0|1", id="with underscores"),
        pytest.param("m -tp 2", "0|1", id="by its short name"),
        pytest.param("m -tp 4 -tp 2", "0|1", id="the last one counts"),
        pytest.param("m --tensor-parallel-size", "0", id="a missing value is left to vLLM to refuse"),
    ],
)
def test_the_parallel_size_is_found_however_it_is_spelled(line: str, expected: str) -> None:
    assert serve.defaults(line.split(), [0, 1], True)["VLLM_CPU_OMP_THREADS_BIND"] == expected


def test_a_model_in_a_folder_needs_no_network(tmp_path: Path) -> None:
    for line in ([str(tmp_path)], ["--port", "1", "--model", str(tmp_path)]):
        assert serve.defaults(line, [0], True)["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize("line", [["org/model"], [], ["--port", "8000"]])
def test_another_model_may_be_downloaded(line: list[str]) -> None:
    assert "HF_HUB_OFFLINE" not in serve.defaults(line, [0], True)


def test_the_home_moves_only_when_it_cannot_be_written() -> None:
    assert "HOME" not in serve.defaults(["m"], [0], True)
    wanted = serve.defaults(["m"], [0], False)
    assert serve.with_defaults({"HOME": "/root"}, wanted)["HOME"] == "/tmp"


def test_the_environment_wins() -> None:
    wanted = serve.defaults(["m"], [0], True)
    left = serve.with_defaults({"VLLM_CPU_KVCACHE_SPACE": "4", "VLLM_NO_USAGE_STATS": ""}, wanted)
    assert left == {
        "TORCHDYNAMO_DISABLE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "0",
        "VLLM_NO_USAGE_STATS": "1",
    }


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param("m", True, id="eager mode that was added compiles nothing"),
        pytest.param("m --enforce-eager", True, id="nor does eager mode that was asked for"),
        pytest.param("m --no-enforce-eager", False, id="who wants it compiled gets it compiled"),
    ],
)
def test_eager_mode_needs_no_compiler(line: str, expected: bool) -> None:
    assert ("TORCHDYNAMO_DISABLE" in serve.defaults(line.split(), [0], True)) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param("m --port 1", "m --port 1 --enforce-eager", id="eager mode is added"),
        pytest.param("m --enforce-eager", "m --enforce-eager", id="but not twice"),
        pytest.param("m --no-enforce-eager", "m --no-enforce-eager", id="nor against what was asked for"),
        pytest.param("m --enforce_eager", "m --enforce_eager", id="nor beside its other spelling"),
    ],
)
def test_eager_mode(line: str, expected: str) -> None:
    assert serve.command_line(line.split()) == expected.split()

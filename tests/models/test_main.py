"""The command line of the model tool."""

from pathlib import Path

import pytest

from e2e.models import __main__, package
from e2e.models.library import where


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TERTIUM_CACHE", str(tmp_path))
    return tmp_path


def test_list_says_what_is_there_and_makes_nothing(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (where() / "tiny-llama-8h").mkdir(parents=True)
    assert __main__.main(["--list"]) == 0
    lines = [line.split("\t")[:2] for line in capsys.readouterr().out.splitlines()]
    assert lines == [["smollm2-135m-instruct", "not made yet"], ["tiny-llama-8h", "there"]]


def test_print_path_prints_the_folder_alone(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert __main__.main(["--print-path"]) == 0
    assert capsys.readouterr().out == f"{where()}\n"
    assert where().parent == cache / "models"
    assert not where().exists()


def test_a_failure_is_one_line_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise FileNotFoundError("models.txt: the package holds no x.gguf")

    monkeypatch.setattr(package, "gguf_file", fail)
    assert __main__.main([]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"e2e.models: cannot make the models in {where()}: models.txt: the package holds no x.gguf"

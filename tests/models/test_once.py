"""Folders that are made once: whole or not there."""

from pathlib import Path

import pytest

from e2e.models.once import made_once


def fill(folder: Path) -> None:
    (folder / "file").write_text("whole")


def refuse(_: Path) -> None:
    raise AssertionError("made again")


def test_what_is_there_is_not_made_again(tmp_path: Path) -> None:
    assert made_once(tmp_path / "kind" / "key", fill)
    assert not made_once(tmp_path / "kind" / "key", refuse)
    assert (tmp_path / "kind" / "key" / "file").read_text() == "whole"


def test_a_failure_leaves_nothing_behind_that_looks_whole(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        fill(folder)
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        made_once(tmp_path / "key", fail)
    assert [path.name for path in tmp_path.iterdir()] == [".key.lock"]


def test_what_a_killed_process_left_is_not_mixed_in(tmp_path: Path) -> None:
    (tmp_path / ".key.unfinished").mkdir()
    (tmp_path / ".key.unfinished" / "half").write_text("old")
    made_once(tmp_path / "key", fill)
    assert [path.name for path in (tmp_path / "key").iterdir()] == ["file"]

"""`tertium crds`."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tertium.api.crd import custom_resource_definition
from tertium.api.definitions import DEFINITIONS
from tertium.cli import main
from tertium.cli.crds import committed_files


def test_the_definitions_are_printed_as_yaml(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crds"]) == 0
    printed = list(yaml.safe_load_all(capsys.readouterr().out))
    assert printed == [custom_resource_definition(definition) for definition in DEFINITIONS]


def test_the_reference_is_printed_as_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crds", "--reference"]) == 0
    assert capsys.readouterr().out.startswith("# LLMDeployment (tertium.dev/v1alpha1)\n")


def test_the_copies_of_a_checkout_are_rewritten(tmp_path: Path) -> None:
    for path in committed_files():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    assert main(["crds", "--write", str(tmp_path)]) == 0
    written = {str(file.relative_to(tmp_path)): file.read_text() for file in tmp_path.rglob("*.*")}
    assert written == committed_files()


def test_elsewhere_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crds", "--write", str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err == (
        f"tertium crds: {tmp_path / 'nowhere'} is no folder; give the checkout's root\n"
    )

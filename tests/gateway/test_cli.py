"""The three programs of a gateway pod, as far as they can be run without one; what they log."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tertium.cli import main
from tertium.logs import JsonFormatter


@pytest.fixture(autouse=True)
def quiet_root_logger() -> Iterator[None]:
    """The programs take over the root logger; give it back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_prepare_writes_what_envoy_starts_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERTIUM_ENVOY_DIR", str(tmp_path / "envoy"))
    monkeypatch.setenv("TERTIUM_LISTEN_PORT", "18080")
    assert main(["gateway", "prepare"]) == 0
    bootstrap = json.loads((tmp_path / "envoy/bootstrap.json").read_text())
    listener = bootstrap["static_resources"]["listeners"][0]
    assert listener["address"]["socket_address"]["port_value"] == 18080


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        pytest.param(
            "TERTIUM_LISTEN_PORT",
            "http",
            "tertium gateway: environment variable TERTIUM_LISTEN_PORT: Input should be a valid integer, "
            "unable to parse string as an integer\n",
            id="a port that is no number",
        ),
        pytest.param(
            "TERTIUM_ENVOY_DIR",
            "/dev/null/envoy",
            "tertium gateway: TERTIUM_ENVOY_DIR /dev/null/envoy cannot be written: "
            "[Errno 20] Not a directory: '/dev/null/envoy'\n",
            id="a directory that cannot be",
        ),
    ],
)
def test_bad_settings_are_named(
    variable: str,
    value: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(variable, value)
    assert main(["gateway", "prepare"]) == 2
    assert capsys.readouterr().err == message


def test_drain_without_an_envoy_fails_and_says_so() -> None:
    # In a process of its own: it has an event loop of its own.
    done = subprocess.run(
        [sys.executable, "-m", "tertium", "gateway", "drain"],
        env={**os.environ, "TERTIUM_ADMIN_PORT": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    line = json.loads(done.stdout)
    assert (done.returncode, line["event"], done.stderr) == (1, "nothing to drain", "")
    assert line["why"].startswith("Envoy's admin interface did not answer /healthcheck/fail: ")


def test_a_log_line_is_one_json_object_with_its_fields() -> None:
    record = logging.makeLogRecord({"name": "x", "levelname": "INFO", "msg": "wake", "created": 0.5})
    record.deployment = "team/m"
    assert json.loads(JsonFormatter().format(record)) == {
        "event": "wake",
        "level": "info",
        "time": "1970-01-01T00:00:00.500000Z",
        "logger": "x",
        "deployment": "team/m",
    }

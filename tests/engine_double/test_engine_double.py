"""The engine double as a process: what its own Go tests cannot see. Needs Go."""

import http.client
import json
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

MODULE = Path(__file__).resolve().parents[2] / "e2e" / "engine-double"

pytestmark = pytest.mark.skipif(shutil.which("go") is None, reason="Go is not on PATH")

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("double") / "engine-double"
    subprocess.run(["go", "build", "-o", path, "."], cwd=MODULE, check=True)
    return path


@pytest.fixture
def start(binary: Path) -> Iterator[Start]:
    """Start a double on a free port; it ends with the test."""
    running: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        command = [str(binary), "/models/x", "--host", "127.0.0.1", "--port", "0", *arguments]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        running.append(process)
        return process

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def connect(process: subprocess.Popen[str]) -> http.client.HTTPConnection:
    """Wait until the double says where it listens, and connect."""
    assert process.stderr is not None
    for line in process.stderr:
        _, found, address = line.strip().partition("listening on ")
        if found:
            return http.client.HTTPConnection(address, timeout=10)
    raise AssertionError("the double ended before it listened")


def ask(
    connection: http.client.HTTPConnection, path: str, model: str = "/models/x"
) -> http.client.HTTPResponse:
    """Ask for a stream."""
    connection.request("POST", path, json.dumps({"model": model, "stream": True}))
    return connection.getresponse()


def test_its_own_tests_pass() -> None:
    done = subprocess.run(["go", "test", "./..."], cwd=MODULE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_stream_outlives_sigterm_within_the_shutdown_timeout(start: Start) -> None:
    process = start("--served-model-name", "a", "--shutdown-timeout", "10", DOUBLE_TOKENS_PER_SECOND="50")
    with (
        closing(connect(process)) as connection,
        closing(ask(connection, "/v1/chat/completions", "a")) as response,
    ):
        first = response.readline()
        process.send_signal(signal.SIGTERM)
        rest = response.read().decode()
    assert b"assistant" in first
    assert '"finish_reason":"stop"' in rest
    assert rest.endswith("data: [DONE]\n\n")
    assert process.wait(timeout=10) == 0


def test_without_a_shutdown_timeout_a_stream_is_cut_short(start: Start) -> None:
    process = start(DOUBLE_TOKENS_PER_SECOND="1", DOUBLE_MAX_TOKENS="1000")
    with closing(connect(process)) as connection, closing(ask(connection, "/v1/completions")) as response:
        response.readline()
        process.send_signal(signal.SIGTERM)
        assert '"finish_reason":"abort"' in response.read().decode()
    assert process.wait(timeout=10) == 0


def test_a_crash_on_boot_is_told_in_words_that_the_operator_finds(start: Start) -> None:
    process = start(DOUBLE_FAULT="crash_on_boot=torch.OutOfMemoryError: out of memory")
    _, log = process.communicate(timeout=10)
    assert process.returncode == 1
    lines = log.splitlines()
    assert lines[-3].endswith("[core.py:1510] torch.OutOfMemoryError: out of memory")
    assert lines[-1].startswith("RuntimeError: Engine core initialization failed. See root cause above.")


def test_a_bad_setting_is_refused_by_name(start: Start) -> None:
    process = start(DOUBLE_BOOT_SECONDS="soon")
    _, log = process.communicate(timeout=10)
    assert process.returncode == 2
    assert log == 'engine-double: error: DOUBLE_BOOT_SECONDS is "soon": expected a number, 0 or more\n'

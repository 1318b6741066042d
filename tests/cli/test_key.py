"""`tertium key`."""

from __future__ import annotations

import hashlib
import io
from datetime import UTC, datetime, timedelta

import pytest
import yaml

from tertium.api.meta import parse_time
from tertium.cli import main
from tertium.core.api_keys import ApiKey, parse_api_key


def made(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[str, dict[str, object], str]:
    """Return the key, the spec and the manifest's text."""
    assert main(["key", "create", *words]) == 0
    out, err = capsys.readouterr()
    manifest = yaml.safe_load(out)
    assert isinstance(parse_api_key(manifest, home="tertium-system"), ApiKey)
    return err.removeprefix("The key, shown this once: ").strip(), manifest["spec"], out


def test_a_key_is_shown_once_and_its_manifest_holds_only_the_hash(capsys: pytest.CaptureFixture[str]) -> None:
    key, spec, text = made(capsys, "ci", "-n", "team-a")
    assert key.startswith("sk-tertium-")
    assert spec == {"keySHA256": hashlib.sha256(key.encode()).hexdigest()}
    assert key not in text
    assert yaml.safe_load(text)["metadata"] == {"name": "ci", "namespace": "team-a"}


def test_no_two_keys_are_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert len({made(capsys, "ci")[0] for _ in range(20)}) == 20


def test_limits_and_deployments_are_said_in_the_manifest(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--allow", "llama-*", "--allow", "team-b/*", "--requests-per-minute", "600")
    _, spec, _ = made(capsys, "ci", *words, "--max-concurrent-requests", "4")
    del spec["keySHA256"]
    assert spec == {
        "allow": [{"name": "llama-*"}, {"namespace": "team-b", "name": "*"}],
        "requestsPerMinute": 600,
        "maxConcurrentRequests": 4,
    }


def test_a_key_expires_when_it_was_told_to(capsys: pytest.CaptureFixture[str]) -> None:
    _, spec, _ = made(capsys, "ci", "--expires-in", "90d")
    left = parse_time(str(spec["expiresAt"])) - datetime.now(UTC)
    assert timedelta(days=89, hours=23) < left <= timedelta(days=90)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(
            ["CI"],
            "NAME is 'CI'; up to 63 of a-z, 0-9 and - were expected, as in team-a",
            id="a name with capitals",
        ),
        pytest.param(
            ["ci", "-n", "a/b"],
            "--namespace is 'a/b'; up to 63 of a-z, 0-9 and - were expected, as in team-a",
            id="a namespace with a slash",
        ),
        pytest.param(
            ["ci", "--allow", "*-chat"],
            "--allow is '*-chat'; NAME or NAMESPACE/NAME was expected, each with * at its end at most",
            id="a * that is not at the end",
        ),
        pytest.param(
            ["ci", "--requests-per-minute", "0"],
            "--requests-per-minute: Input should be greater than or equal to 1",
            id="no requests at all",
        ),
        pytest.param(
            ["ci", "--expires-in", "soon"],
            "--expires-in is 'soon'; a number of d, h or m was expected, as in 90d",
            id="no time",
        ),
    ],
)
def test_what_no_key_can_say_is_named(
    capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["key", "create", *words]) == 2
    assert capsys.readouterr() == ("", f"tertium key: {message}\n")


def test_a_key_one_has_is_hashed_from_standard_input(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("sk-0123456789abcdefghijklmnopqrstuvwxyz\n"))
    assert main(["key", "hash"]) == 0
    assert capsys.readouterr().out == (
        hashlib.sha256(b"sk-0123456789abcdefghijklmnopqrstuvwxyz").hexdigest() + "\n"
    )


def test_a_key_that_can_be_guessed_is_not_hashed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("hunter2\n"))
    assert main(["key", "hash"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "tertium key: the key has 7 characters; 32 to 512 of printable ASCII without spaces were expected, "
        "chosen at random: the hash of a short one can be guessed\n"
    )

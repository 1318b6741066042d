"""Models on a hub: the hub's real client against a server with the hub's URLs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest

from tertium.api.conditions import Reason
from tertium.core.errors import Retryable, Terminal
from tertium.loader.folder import inspect_folder
from tertium.loader.hub import Hub, inspect_hub
from tests.loader.hub_server import COMMIT, REPOSITORY, TOKEN, HubServer, serving
from tests.loader.models import CONFIG, TENSOR_BYTES, write_model, write_shard, write_sharded_model


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HubServer]:
    with serving(write_model(tmp_path / "model")) as hub:
        yield hub
        huggingface_hub.close_session()


def test_a_repository_s_facts_are_those_of_its_files_at_the_resolved_commit(
    server: HubServer, tmp_path: Path
) -> None:
    facts = inspect_hub(Hub(endpoint=server.url), REPOSITORY, "v1")
    assert facts["config"] == CONFIG
    assert facts["weightBytes"] == 2 * TENSOR_BYTES
    assert facts["revision"] == COMMIT
    assert facts["digest"] == inspect_folder(tmp_path, "model", "pvc://x/model")["digest"]


def test_only_the_shards_of_the_index_count(server: HubServer, tmp_path: Path) -> None:
    server.files = write_sharded_model(tmp_path / "sharded")
    assert inspect_hub(Hub(endpoint=server.url), REPOSITORY, None)["weightBytes"] == 2 * TENSOR_BYTES


def test_a_shard_is_asked_once_and_for_its_header_only(server: HubServer, tmp_path: Path) -> None:
    server.files = write_sharded_model(tmp_path / "sharded")
    inspect_hub(Hub(endpoint=server.url), REPOSITORY, None)
    assert server.headers_read == ["bytes=0-231", "bytes=0-231"]


def test_a_header_that_is_longer_than_usual_is_asked_for_again(server: HubServer, tmp_path: Path) -> None:
    server.files = write_sharded_model(tmp_path / "sharded")
    name = "x" * 400
    write_shard(server.files, "model-1.safetensors", name)
    facts = inspect_hub(Hub(endpoint=server.url), REPOSITORY, None)
    assert facts["weightBytes"] == 2 * TENSOR_BYTES
    assert len(server.headers_read) == 3


def test_a_hub_that_ignores_ranges_is_read_all_the_same(server: HubServer) -> None:
    server.ignores_ranges = True
    assert inspect_hub(Hub(endpoint=server.url), REPOSITORY, None)["weightBytes"] == 2 * TENSOR_BYTES


def test_an_index_that_names_absent_shards_is_refused(server: HubServer, tmp_path: Path) -> None:
    server.files = write_sharded_model(tmp_path / "sharded")
    (server.files / "model-2.safetensors").unlink()
    with pytest.raises(Terminal) as refused:
        inspect_hub(Hub(endpoint=server.url), REPOSITORY, None)
    assert str(refused.value) == (
        "hf://org/name: model.safetensors.index.json names model-2.safetensors, "
        "which the repository does not hold; choose another revision"
    )


def test_a_config_of_a_gigabyte_is_not_downloaded(server: HubServer) -> None:
    with (server.files / "config.json").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(Terminal) as refused:
        inspect_hub(Hub(endpoint=server.url), REPOSITORY, None)
    assert str(refused.value) == (
        "hf://org/name: config.json has 1,073,741,824 bytes, expected at most 8,388,608; "
        "is it the right file?"
    )


def test_the_token_opens_a_private_repository(server: HubServer) -> None:
    server.token = TOKEN
    assert inspect_hub(Hub(endpoint=server.url, token=TOKEN), REPOSITORY, None)["config"] == CONFIG


Asked = tuple[str, str | None]
CREDENTIALS = (
    "set spec.model.credentialsSecretRef to a Secret whose key `token` holds a token that may read it"
)


@pytest.mark.parametrize(
    ("asked", "faults", "reason", "message"),
    [
        pytest.param(
            ("org/other", None),
            {},
            Reason.MODEL_NOT_FOUND,
            "hf://org/other: URL has no such model, or it is private: check spec.model.source, or "
            + CREDENTIALS,
            id="no such repository",
        ),
        pytest.param(
            (REPOSITORY, "v2"),
            {},
            Reason.MODEL_NOT_FOUND,
            "spec.model.revision: hf://org/name has no branch, tag or commit 'v2'",
            id="no such revision",
        ),
        pytest.param(
            (REPOSITORY, None),
            {"file": (403, "GatedRepo")},
            Reason.INSPECTION_FAILED,
            "hf://org/name is gated: accept its terms at URL, then " + CREDENTIALS,
            id="a gated repository",
        ),
        pytest.param(
            (REPOSITORY, None),
            {"info": (403, "")},
            Reason.INSPECTION_FAILED,
            "hf://org/name: URL refuses access (403): " + CREDENTIALS,
            id="a token without the right",
        ),
    ],
)
def test_a_refusal_names_the_field_to_change(
    server: HubServer, asked: Asked, faults: dict[str, tuple[int, str]], reason: Reason, message: str
) -> None:
    server.faults = faults
    with pytest.raises(Terminal) as refused:
        inspect_hub(Hub(endpoint=server.url), *asked)
    assert str(refused.value) == message.replace("URL", server.url)
    assert refused.value.reason is reason


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        pytest.param(
            "config.json",
            "hf://org/name: there is no config.json; the repository holds model.safetensors",
            id="without config.json",
        ),
        pytest.param(
            "model.safetensors",
            "hf://org/name: there are no safetensors weights; the repository holds config.json. "
            "Choose one that has them",
            id="without weights",
        ),
    ],
)
def test_an_incomplete_repository_says_what_there_is(server: HubServer, removed: str, message: str) -> None:
    (server.files / removed).unlink()
    with pytest.raises(Terminal) as refused:
        inspect_hub(Hub(endpoint=server.url), REPOSITORY, None)
    assert str(refused.value) == message


def test_a_broken_header_is_named(server: HubServer) -> None:
    (server.files / "model.safetensors").write_bytes((5).to_bytes(8, "little") + b"hello")
    with pytest.raises(
        Terminal, match=r"^hf://org/name: model\.safetensors: its header is not JSON: Expecting value"
    ):
        inspect_hub(Hub(endpoint=server.url), REPOSITORY, None)


def test_throttling_passes(server: HubServer) -> None:
    server.faults = {"info": (429, "")}
    with pytest.raises(Retryable) as passing:
        inspect_hub(Hub(endpoint=server.url), REPOSITORY, None)
    assert str(passing.value) == f"hf://org/name: {server.url} answers 429 for now"


def test_an_unreachable_hub_passes() -> None:
    with pytest.raises(Retryable, match=r"^hf://org/name: cannot reach http://127\.0\.0\.1:9: .*refused"):
        inspect_hub(Hub(endpoint="http://127.0.0.1:9"), REPOSITORY, None)


def test_no_message_holds_the_token(server: HubServer) -> None:
    server.faults = {"info": (403, "")}
    with pytest.raises(Terminal) as refused:
        inspect_hub(Hub(endpoint=server.url, token="hf_secret"), REPOSITORY, None)
    assert "hf_secret" not in str(refused.value)

"""What is kept, where, and under which key."""

from pathlib import Path

import pytest

from e2e.cluster import backends, images
from e2e.cluster.cache import cache_root, keyed
from e2e.cluster.errors import ClusterError
from e2e.cluster.external import ExternalBackend
from e2e.cluster.progress import Steps
from e2e.cluster.shell import CommandFailed, sh
from e2e.cluster.spec import build_spec
from e2e.cluster.state import Record, state_root


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the user's cache nor his clusters."""
    monkeypatch.setenv("TERTIUM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TERTIUM_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("TERTIUM_BACKEND", raising=False)


def test_the_cache_is_where_it_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_root() == tmp_path / "cache"
    monkeypatch.delenv("TERTIUM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_root() == Path("/x/tertium")


def test_a_key_changes_with_every_input_and_with_where_one_ends(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("ab")
    keys = [keyed("k", "ab", "c"), keyed("k", "a", "bc"), keyed("k", "ab"), keyed("other", "ab")]
    assert len({str(key) for key in keys}) == 4
    assert keyed("k", file) == keyed("k", "ab") == keyed("k", b"ab")


def test_a_record_is_whole_or_not_there() -> None:
    record = Record(state_root() / "a" / "cluster.json")
    assert record.read() == {}
    spec = build_spec("a")
    record.write(spec, backend="local", up=True, prefix="10.200")
    assert record.up_spec("a") == spec
    record.mark_down()
    with pytest.raises(ClusterError, match=r"cluster a: not up; run `python -m e2e.cluster up --name a`"):
        record.up_spec("a")


def test_a_running_cluster_is_not_taken_for_another_one() -> None:
    record = Record(state_root() / "a" / "cluster.json")
    record.write(build_spec("a", nodes=1), backend="local", up=True)
    with pytest.raises(ClusterError) as error:
        record.check_same(build_spec("a", nodes=2))
    assert str(error.value) == (
        "cluster a: is up with 1 nodes (4 x Fake-GPU-24GB), and 2 nodes (4 x Fake-GPU-24GB, 4 x Fake-GPU-2GB)"
        " are asked for; run `down` first or choose another --name"
    )


def test_a_wish_without_mounts_takes_the_running_cluster_with_its_own() -> None:
    record = Record(state_root() / "a" / "cluster.json")
    record.write(build_spec("a", mounts=["/usr/share:/opt/share"]), backend="local", up=True)
    record.check_same(build_spec("a"))
    with pytest.raises(ClusterError, match="choose another --name"):
        record.check_same(build_spec("a", mounts=["/usr/lib:/opt/share"]))


@pytest.mark.parametrize(
    ("wish", "recorded", "expected"),
    [
        pytest.param("auto", None, "local", id="auto is local where no Docker engine answers"),
        pytest.param("auto", "kind", "kind", id="auto is what the cluster was started with"),
        pytest.param("kind", "local", "kind", id="a named back end is that one"),
        pytest.param("external", None, "external", id="external only by name"),
    ],
)
def test_choose(wish: str, recorded: str | None, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "docker_answers", lambda: False)
    monkeypatch.setenv("KUBECONFIG", "/some/config")
    if recorded:
        Record(state_root() / "a" / "cluster.json").write(build_spec("a"), backend=recorded, up=True)
    assert backends.choose(wish, "a").kind == expected


def test_auto_is_what_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERTIUM_BACKEND", "external")
    assert backends.choose("auto", "a").kind == "external"
    assert backends.existing("auto", "a").kind == "external"
    assert backends.choose("local", "a").kind == "local"


def test_an_unknown_back_end_is_told_the_names() -> None:
    with pytest.raises(ClusterError, match="back end 'k3s': expected one of auto, local, kind, external"):
        backends.choose("k3s", "a")


def test_an_external_cluster_needs_its_kubeconfig(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    with pytest.raises(ClusterError, match="KUBECONFIG='': expected the path of the external cluster's"):
        _ = ExternalBackend().kubeconfig


def test_an_external_cluster_takes_images_only_from_a_registry() -> None:
    with pytest.raises(
        ClusterError, match=r"push them to a registry that the cluster can pull from .*docker tag"
    ):
        ExternalBackend().load([], Steps(quiet=True))


def test_a_program_that_fails_is_quoted() -> None:
    with pytest.raises(CommandFailed) as error:
        sh("sh", "-c", "echo out; echo why >&2; exit 3")
    assert str(error.value) == "sh -c echo out; echo why >&2; exit 3: ended with 3\n  out\n  why"
    assert (error.value.returncode, error.value.stderr) == (3, "why\n")


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(ClusterError, match="no-such-program: no such program"):
        sh("no-such-program")

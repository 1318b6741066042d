"""Image archives are recognised by what they hold, and only new layers travel."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from e2e.cluster import binaries, debian, images, imagespecs, pip
from e2e.cluster.errors import ClusterError
from e2e.cluster.local.images import contents, write_archive
from e2e.cluster.shell import CommandFailed


def write_tar(path: Path, **files: object) -> Path:
    """Write a tar archive of JSON files."""
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            data = json.dumps(content).encode()
            member = tarfile.TarInfo(name.replace("_", "."))
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture
def layout(tmp_path: Path) -> tuple[Path, str]:
    """An OCI layout of one image with two layers, and the digest of its manifest."""
    blobs = tmp_path / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    manifest = {
        "config": {"digest": "sha256:cc"},
        "layers": [{"digest": "sha256:01"}, {"digest": "sha256:02"}],
    }
    for name, text in {"cc": "{}", "01": "base", "02": "code", "aa": json.dumps(manifest)}.items():
        (blobs / name).write_text(text)
    entry = {"digest": "sha256:aa", "annotations": {"org.opencontainers.image.ref.name": "localhost/a:dev"}}
    (tmp_path / "index.json").write_text(json.dumps({"manifests": [entry]}))
    return tmp_path, "sha256:aa"


def test_a_docker_archive_is_known_by_its_configurations(tmp_path: Path) -> None:
    archive = write_tar(
        tmp_path / "a.tar", manifest_json=[{"Config": "abc.json", "RepoTags": ["a:1", "a:2"]}]
    )
    assert contents(archive) == {"a:1": "abc.json", "a:2": "abc.json"}


def test_an_oci_archive_is_known_by_its_manifests(tmp_path: Path) -> None:
    entry = {"digest": "sha256:aa", "annotations": {"io.containerd.image.name": "a:1"}}
    assert contents(write_tar(tmp_path / "a.tar", index_json={"manifests": [entry]})) == {"a:1": "sha256:aa"}


def test_an_oci_layout_is_known_by_its_manifests(layout: tuple[Path, str]) -> None:
    assert contents(layout[0]) == {"localhost/a:dev": "sha256:aa"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param(
            "missing.tar", "No such file or directory; expected a file of `docker save`", id="no file"
        ),
        pytest.param("text.tar", "expected a file of `docker save`", id="a file that is no archive"),
        pytest.param("other.tar", "no manifest.json or index.json inside", id="an archive of something else"),
    ],
)
def test_refused_archive(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "text.tar").write_text("hello")
    write_tar(tmp_path / "other.tar", readme_txt="hello")
    with pytest.raises(ClusterError) as error:
        contents(tmp_path / name)
    assert message in str(error.value)
    assert str(error.value).startswith(f"image archive {tmp_path / name}: ")


def test_a_node_is_sent_only_the_blobs_that_it_lacks(layout: tuple[Path, str]) -> None:
    directory, digest = layout
    out = io.BytesIO()
    write_archive(out, directory, [{"digest": digest}], there={"sha256:01", "sha256:cc"})
    out.seek(0)
    with tarfile.open(fileobj=out) as tar:
        assert tar.getnames() == ["oci-layout", "index.json", "blobs/sha256/aa", "blobs/sha256/02"]


def test_every_image_has_a_name_that_leads_to_no_registry() -> None:
    assert {spec.tag.split("/")[0] for spec in imagespecs.ALL} == {"localhost"}


def test_an_unknown_image_is_told_the_names() -> None:
    with pytest.raises(
        ClusterError, match="image 'nope': expected one of pause, fake-gpu, operator, gateway"
    ):
        imagespecs.named("nope")


def test_the_build_context_holds_sources_and_no_tests() -> None:
    kept = {path.relative_to(binaries.REPOSITORY).parts[0] for path in images.context_files()}
    assert {"images", "operator", "requirements"} <= kept
    assert not kept & {"tests", ".git", "charts"}


def test_mirrors_are_those_of_this_machine_for_its_own_release_alone() -> None:
    listing = "\n".join(
        [
            "http://m/debian|bookworm|main|$(SIGNED_BY)",
            "http://m/debian|bookworm|contrib|$(SIGNED_BY)",
            "http://m/security|bookworm-security|main|/k.gpg",
            "https://vendor/apt|stable|main|/v.gpg",
            "http://m/debian|trixie|main|",
        ]
    )
    assert debian.sources(listing, "bookworm") == [
        "deb [signed-by=/k.gpg] http://m/security bookworm-security main",
        "deb http://m/debian bookworm contrib main",
    ]


@pytest.mark.parametrize(
    ("candidate", "version"),
    [
        pytest.param("3.11.2-1+b1", "3.11", id="Debian 12"),
        pytest.param("3.13.5-1", "3.13", id="Debian 13"),
        pytest.param("3.12.3-0ubuntu2.1", "3.12", id="Ubuntu 24.04"),
    ],
)
def test_the_engine_s_packages_are_for_the_python_of_the_release(candidate: str, version: str) -> None:
    policy = f"python3:\n  Installed: (none)\n  Candidate: {candidate}\n  Version table:\n     3.9.1 500\n"
    assert debian.python_version(policy) == version


def test_an_apt_without_lists_is_told_to_fetch_them() -> None:
    with pytest.raises(ClusterError, match="run apt-get update"):
        debian.python_version("python3:\n  Installed: (none)\n  Candidate: (none)\n")


def test_package_lists_skip_comments() -> None:
    assert "python3-minimal" in debian.packages(debian.HERE / "packages.txt")
    assert not any(name.startswith("#") for name in debian.packages(debian.HERE / "builder-packages.txt"))


def test_a_build_reaches_the_package_index_as_this_machine_does() -> None:
    listing = (
        ":env:.index-url='https://a/simple'\nglobal.index-url='https://b/simple'\nglobal.cert='/ca.pem'\n"
    )
    found = pip.settings(listing + "global.find-links='/wheels'\nglobal.timeout='9'")
    assert found == {"index-url": "https://a/simple", "cert": "/ca.pem", "timeout": "9"}
    lines = pip.configuration(found).splitlines()
    assert "cert = /run/secrets/ca.crt" in lines
    assert "index-url = https://a/simple" in lines


@pytest.mark.parametrize(
    ("failures", "said", "tries"),
    [
        pytest.param(2, "Close_Fd sealing memfd copy: Device or resource busy", 3, id="busy for a moment"),
        pytest.param(3, "Close_Fd sealing memfd copy: Device or resource busy", None, id="busy for long"),
        pytest.param(1, "no space left on device", None, id="another fault"),
    ],
)
def test_buildah_is_tried_again_while_its_copy_cannot_be_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int, said: str, tries: int | None
) -> None:
    calls: list[tuple[str, ...]] = []

    def sh(*args: str, env: dict[str, str], check: bool = True) -> str:
        calls.append(args)
        if len(calls) <= failures:
            raise CommandFailed(list(args), 1, "", said)
        return '[{"names": ["a"]}]'

    monkeypatch.setattr(images, "sh", sh)
    if tries is None:
        with pytest.raises(CommandFailed, match=said):
            images.Buildah(tmp_path)._has("a")
        assert len(calls) == failures
    else:
        assert images.Buildah(tmp_path)._has("a")
        assert len(calls) == tries

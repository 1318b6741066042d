"""kind's configuration, read by kind's own loader."""

import json
import shutil
from pathlib import Path

import pytest

from e2e.cluster import binaries, kind
from e2e.cluster.progress import Steps
from e2e.cluster.shell import CommandFailed, sh
from e2e.cluster.spec import build_spec

needs_go = pytest.mark.skipif(not shutil.which("go"), reason="Go is not installed")


@pytest.fixture(scope="module")
def kindcheck() -> Path:
    """The loader and the rules of the kind release that the tool uses."""
    return binaries.build([binaries.KIND_CHECK], Steps(quiet=True))["kindcheck"]


@needs_go
def test_kind_accepts_the_configuration_of_the_repository(kindcheck: Path) -> None:
    assert [line.split()[0] for line in sh(kindcheck, kind.CONFIG).splitlines()] == [
        "control-plane",
        "worker",
    ]


@needs_go
def test_kind_accepts_what_is_made_for_three_nodes_with_mounts(kindcheck: Path, tmp_path: Path) -> None:
    spec = build_spec("a", nodes=3, mounts=["/srv/engine:/opt/vllm"])
    config = tmp_path / "kind.yaml"
    config.write_text(kind.render(kind.CONFIG.read_text(), spec, Path("/srv/cache")))
    nodes = [line.split() for line in sh(kindcheck, config).splitlines()]
    assert [role for role, _ in nodes] == ["control-plane", "worker", "worker", "worker"]
    assert all("kindest/node:v1.34." in image and "@sha256:" in image for _, image in nodes)


@needs_go
def test_the_loader_refuses_what_kind_refuses(kindcheck: Path, tmp_path: Path) -> None:
    config = tmp_path / "kind.yaml"
    config.write_text(kind.CONFIG.read_text().replace("nodes:", "machines:"))
    with pytest.raises(CommandFailed, match="field machines not found"):
        sh(kindcheck, config)


def test_every_worker_sees_the_shared_folder_and_each_mount_once() -> None:
    spec = build_spec("demo", nodes=2, mounts=["/srv/engine:/opt/vllm", "/srv/engine:/opt/other"])
    lines = kind.render(kind.CONFIG.read_text(), spec, Path("/srv/cache")).splitlines()
    mounts = [json.loads(line.partition(": ")[2]) for line in lines if "extraMounts" in line]
    assert [[mount["hostPath"] for mount in node] for node in mounts] == [["/srv/cache", "/srv/engine"]] * 2
    assert "name: demo" in lines


def test_workers_are_named_as_kind_names_them() -> None:
    assert kind.node_names(build_spec("demo", nodes=3)) == ["demo-worker", "demo-worker2", "demo-worker3"]

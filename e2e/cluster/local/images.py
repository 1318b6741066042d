"""Images into the nodes' containerd: each image once, and of a changed image only the layers that are new.

An image comes as a tar archive, or as an OCI layout directory (what the builder without Docker writes).
"""

import io
import json
import subprocess
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from e2e.cluster.errors import ClusterError
from e2e.cluster.local.layout import Layout
from e2e.cluster.shell import CommandFailed, sh

_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


def contents(image: Path) -> dict[str, str]:
    """Return the image names in an archive, each with the digest that changes with what it holds.

    Raises:
        ClusterError: it is no docker archive, OCI archive or OCI layout.
    """
    try:
        if image.is_dir():
            return _oci_names(json.loads((image / "index.json").read_text()))
        with tarfile.open(image) as tar:
            members = {member.name: member for member in tar}
            for name, read in (("manifest.json", _docker_names), ("index.json", _oci_names)):
                if name in members and (content := tar.extractfile(members[name])):
                    return read(json.load(content))
    except OSError as unreadable:
        raise ClusterError(
            f"image archive {image}: {unreadable.strerror}; expected a file of `docker save`"
        ) from unreadable
    except (ValueError, KeyError, tarfile.TarError) as unreadable:
        raise ClusterError(
            f"image archive {image}: {unreadable}; expected a file of `docker save`"
        ) from unreadable
    raise ClusterError(
        f"image archive {image}: no manifest.json or index.json inside; expected a file of `docker save`"
    )


def _docker_names(manifest: list[dict[str, Any]]) -> dict[str, str]:
    return {name: image["Config"] for image in manifest for name in image["RepoTags"] or ()}


def _oci_names(index: dict[str, Any]) -> dict[str, str]:
    return {
        next(annotations[name] for name in _NAMES if name in annotations): manifest["digest"]
        for manifest in index["manifests"]
        if (annotations := manifest.get("annotations", {}))
    }


def load(layout: Layout, index: int, archives: Sequence[Path]) -> list[Path]:
    """Import into one node what it has not got, and return what that was."""
    record = layout.home(index) / "containerd" / "loaded.json"
    loaded: dict[str, str] = json.loads(record.read_text()) if record.exists() else {}
    imported = []
    for archive in archives:
        images = contents(archive)
        if images.items() <= loaded.items():
            continue
        if archive.is_dir():
            _import_layout(layout, index, archive, images)
        else:
            ctr(layout, index, "images", "import", archive)
        imported.append(archive)
        loaded |= images
        temporary = record.with_suffix(".new")
        temporary.write_text(json.dumps(loaded))
        temporary.rename(record)
    return imported


def _import_layout(layout: Layout, index: int, directory: Path, images: dict[str, str]) -> None:
    there = set(ctr(layout, index, "content", "ls", "-q").split())
    manifests = [
        {**manifest, "annotations": {_NAMES[0]: name}}
        for manifest in json.loads((directory / "index.json").read_text())["manifests"]
        for name, digest in images.items()
        if digest == manifest["digest"]
    ]
    command = [*_ctr(layout, index), "images", "import", "-"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        if process.stdin and process.stdout:
            try:
                write_archive(process.stdin, directory, manifests, there)
                process.stdin.close()
            except BrokenPipeError:
                # Why it hung up, it says itself.
                pass
            said = process.stdout.read().decode(errors="replace")
    if process.returncode != 0:
        raise CommandFailed(command, process.returncode, said, "")


def write_archive(
    out: Any, directory: Path, manifests: list[dict[str, Any]], there: Iterable[str] = ()
) -> None:
    """Write an OCI layout as a tar stream, without the blobs that are `there` already."""
    index = {"schemaVersion": 2, "manifests": manifests}
    left_out = set(there)
    with tarfile.open(fileobj=out, mode="w|") as tar:
        for name, text in (
            ("oci-layout", '{"imageLayoutVersion":"1.0.0"}'),
            ("index.json", json.dumps(index)),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
        for digest in dict.fromkeys(
            d for manifest in manifests for d in _blobs(directory, manifest["digest"])
        ):
            if digest not in left_out:
                path = _blob(directory, digest)
                tar.add(path, arcname=f"blobs/{digest.replace(':', '/')}")


def _blobs(directory: Path, manifest: str) -> Iterator[str]:
    yield manifest
    content = json.loads(_blob(directory, manifest).read_text())
    yield content["config"]["digest"]
    yield from (layer["digest"] for layer in content["layers"])


def _blob(directory: Path, digest: str) -> Path:
    return directory / "blobs" / digest.replace(":", "/")


def _ctr(layout: Layout, index: int) -> list[str]:
    return ["ctr", "--address", str(layout.socket(index)), "--namespace", "k8s.io"]


def ctr(layout: Layout, index: int, *args: str | Path) -> str:
    """Talk to a node's containerd, in the namespace that the kubelet uses."""
    return sh(*_ctr(layout, index), *args)


def remove_containers(layout: Layout, index: int) -> bool:
    """Take away the records of containers that were killed with their cluster; say whether there were any."""
    containers = ctr(layout, index, "containers", "ls", "-q").split()
    if containers:
        ctr(layout, index, "containers", "rm", *containers)
    return bool(containers)

"""Building the images of the repository for nodes to load: by Docker, or by buildah without it."""

import functools
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

from e2e.cluster import binaries, debian, envoy_filter, hosttools, pip
from e2e.cluster.binaries import REPOSITORY
from e2e.cluster.cache import cache_root, keyed
from e2e.cluster.errors import ClusterError
from e2e.cluster.imagespecs import ImageSpec
from e2e.cluster.progress import Steps
from e2e.cluster.shell import CommandFailed, locked, sh


class Builder(Protocol):
    """One way from a Dockerfile to an archive."""

    def build(self, spec: ImageSpec, steps: Steps) -> None:
        """Build an image."""

    def archive(self, spec: ImageSpec) -> Path:
        """Return where `save` writes: a docker archive or an OCI layout."""

    def save(self, spec: ImageSpec) -> None:
        """Write the image for nodes to load."""


def archives(specs: Sequence[ImageSpec], steps: Steps) -> list[Path]:
    """Build images and return their archives; what has not changed is neither built nor written again.

    Raises:
        ClusterError: a tool lacks, or a build failed.
    """
    home = cache_root() / "images"
    with locked(home / ".lock"):
        builder = choose_builder()
        return [_archive(builder, spec, home, steps) for spec in specs]


def _archive(builder: Builder, spec: ImageSpec, home: Path, steps: Steps) -> Path:
    stamp, key = home / f"{spec.name}.key", _key(spec, steps)
    if not (stamp.exists() and stamp.read_text() == key and builder.archive(spec).exists()):
        with steps.step(f"image {spec.name}"):
            stamp.unlink(missing_ok=True)
            builder.build(spec, steps)
            builder.save(spec)
            stamp.write_text(key)
    return builder.archive(spec)


def _key(spec: ImageSpec, steps: Steps) -> str:
    """Return what changes with everything that a build reads."""
    dockerfile = REPOSITORY / spec.dockerfile
    if spec.program:
        program = binaries.build([spec.program], steps)[spec.program.name]
        return keyed("image", *spec.offline_args, dockerfile, program.parent.name).name
    files = [path for path in context_files() if "__pycache__" not in path.parts]
    names = "\n".join(str(path.relative_to(REPOSITORY)) for path in files)
    return keyed("image", *spec.offline_args, dockerfile, names, *files).name


def context_files() -> list[Path]:
    """Return the files that .dockerignore lets into a build context."""
    ignore = (REPOSITORY / ".dockerignore").read_text().split()
    kept = [REPOSITORY / line.removeprefix("!") for line in ignore if line.startswith("!")]
    return sorted(
        file for path in kept for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()
    )


@functools.cache
def docker_answers() -> bool:
    """Say whether a Docker engine can be asked."""
    return bool(
        hosttools.find("docker")
        and sh("docker", "info", "--format", "{{.ServerVersion}}", check=False).strip()
    )


def choose_builder() -> Builder:
    """Return what TERTIUM_BUILDER names; by default Docker where an engine answers, else buildah.

    Raises:
        ClusterError: the tools lack.
    """
    wish = os.environ.get("TERTIUM_BUILDER", "auto")
    if wish not in ("auto", "docker", "buildah"):
        raise ClusterError(f"TERTIUM_BUILDER={wish}: expected auto, docker or buildah")
    if wish == "docker" or (wish == "auto" and docker_answers()):
        return Docker(cache_root() / "images")
    hosttools.check(hosttools.IMAGES, "building images without Docker")
    return Buildah(cache_root() / "images")


class Docker:
    """Dockerfiles as they are, with base images from their registry."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def build(self, spec: ImageSpec, steps: Steps) -> None:
        """Build with the whole repository as the context."""
        if spec.name == "pause":
            with tempfile.TemporaryDirectory() as context:
                _copy_program(spec, Path(context), steps)
                sh("docker", "build", "-q", "-f", REPOSITORY / spec.dockerfile, "-t", spec.tag, context)
        else:
            with pip.secrets() as secrets:
                sh(
                    "docker",
                    "build",
                    "-q",
                    *secrets,
                    "-f",
                    REPOSITORY / spec.dockerfile,
                    "-t",
                    spec.tag,
                    REPOSITORY,
                )

    def archive(self, spec: ImageSpec) -> Path:
        """Return the docker archive."""
        return self._home / f"{spec.name}.tar"

    def save(self, spec: ImageSpec) -> None:
        """Write the docker archive whole or not at all."""
        temporary = self.archive(spec).with_suffix(".new")
        sh("docker", "save", "-o", temporary, spec.tag)
        temporary.rename(self.archive(spec))


class Buildah:
    """The same Dockerfiles with base images from Debian packages, in a store of its own."""

    _TOOLS: Final = {"STORAGE_DRIVER": "overlay", "BUILDAH_ISOLATION": "chroot"}

    def __init__(self, home: Path) -> None:
        self._home = home
        home.mkdir(parents=True, exist_ok=True)

    def build(self, spec: ImageSpec, steps: Steps) -> None:
        """Build with the repository as the context, or with nothing but the program that Go made."""
        arguments = [f"--build-arg={argument}" for argument in spec.offline_args]
        with tempfile.TemporaryDirectory(dir=self._home) as work:
            if spec.program:
                _copy_program(spec, Path(work), steps)
                self._bud(spec, spec.tag, Path(work), arguments)
                return
            arguments += [f"--build-arg={name.upper()}={self._base(name, steps)}" for name in debian.BASES]
            with pip.secrets() as secrets:
                arguments += secrets
                if spec.has_filter:
                    arguments.append(f"--build-arg=FILTER={self._filter()}")
                if spec.reads:
                    arguments.append(f"--build-arg=RUNTIME={self._runtime(spec, arguments)}")
                self._bud(spec, spec.tag, REPOSITORY, arguments)

    def _runtime(self, spec: ImageSpec, arguments: list[str]) -> str:
        """Build the stage without the code unless it is there, and return its tag.

        buildah would find it in its cache by itself, but reads all of it for that: seconds, on every change.
        """
        reads = [REPOSITORY / name for name in (spec.dockerfile, *spec.reads)]
        bases = [(self._home / f"{name}.base").read_text() for name in debian.BASES]
        tag = f"localhost/tertium-{spec.name}-runtime:{keyed('image', *bases, *reads).name}"
        if not self._has(tag):
            self._bud(spec, tag, REPOSITORY, ["--target=runtime", *arguments])
        return tag

    def _bud(self, spec: ImageSpec, tag: str, context: Path, arguments: list[str]) -> None:
        words = ("bud", "--quiet", "--layers", "--pull-never", *arguments)
        self._buildah(*words, "-f", REPOSITORY / spec.dockerfile, "-t", tag, context)

    def archive(self, spec: ImageSpec) -> Path:
        """Return the OCI layout."""
        return self._home / "oci" / spec.name

    def save(self, spec: ImageSpec) -> None:
        """Write an OCI layout; all layouts share their blobs.

        buildah writes layouts only with compressed layers, which costs more than everything else together.
        """
        layout, blobs = self.archive(spec), self._home / "oci" / "blobs" / "sha256"
        blobs.mkdir(parents=True, exist_ok=True)
        layout.mkdir(exist_ok=True)
        if not (layout / "blobs").is_symlink():
            (layout / "blobs").symlink_to(Path("..", "blobs"))
        with tempfile.TemporaryDirectory(dir=self._home) as work:
            self._buildah("push", "--quiet", "--disable-compression", spec.tag, f"dir:{work}")
            manifest = Path(work, "manifest.json").read_bytes()
            digest = hashlib.sha256(manifest).hexdigest()
            Path(work, "manifest.json").rename(Path(work, digest))
            for blob in Path(work).iterdir():
                if blob.name != "version":
                    blob.rename(blobs / blob.name)
        entry = {
            "mediaType": json.loads(manifest)["mediaType"],
            "digest": f"sha256:{digest}",
            "size": len(manifest),
            "annotations": {"org.opencontainers.image.ref.name": spec.tag},
        }
        (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))

    def _buildah(self, *args: str | Path) -> str:
        # buildah leaves containers of named stages mounted: they end here with their mount namespace.
        with tempfile.TemporaryDirectory(dir=self._home, prefix="run") as run:
            store = ("buildah", "--root", str(self._home / "storage"), "--runroot", run)
            try:
                return _once_sealed(lambda: sh("unshare", "-m", *store, *args, env=self._TOOLS))
            finally:
                if args[0] == "bud":
                    sh("unshare", "-m", *store, "rm", "--all", env=self._TOOLS, check=False)

    def _filter(self) -> str:
        """Make an image of nothing but the gateway's filter unless it is there, and return its tag."""
        built = envoy_filter.build()
        tag = f"localhost/tertium-filter:{built.parent.name}"
        if not self._has(tag):
            with tempfile.TemporaryDirectory(dir=self._home) as work:
                shutil.copy2(built, work)
                Path(work, "Dockerfile").write_text(f"FROM scratch\nCOPY {built.name} /{built.name}\n")
                self._buildah("bud", "--quiet", "-t", tag, work)
        return tag

    def _base(self, name: str, steps: Steps) -> str:
        """Make a base image unless it is there, and return its tag."""
        suite, stamp = debian.suite(), self._home / f"{name}.base"
        tag = f"localhost/tertium-{name}:{suite}"
        key = keyed("base", suite, debian.HOOK, *debian.BASES[name]).name
        if stamp.exists() and stamp.read_text() == key and self._has(tag):
            return tag
        with (
            steps.step(f"base image {tag} from Debian packages"),
            tempfile.TemporaryDirectory(dir=self._home) as work,
        ):
            debian.make_root(Path(work, "root.tar"), debian.BASES[name], self._home / f"{name}.log")
            Path(work, "Dockerfile").write_text(
                "FROM scratch\nADD root.tar /\nENV PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8\n"
            )
            self._buildah("bud", "--quiet", "-t", tag, work)
            stamp.write_text(key)
        return tag

    def _has(self, tag: str) -> bool:
        listed = json.loads(self._buildah("images", "--json") or "[]")
        return any(tag in (image.get("names") or ()) for image in listed)


def _once_sealed(run: Callable[[], str]) -> str:
    """Run buildah, at most three times.

    It goes on from a copy of itself in memory, which the kernel refuses to seal while anything else holds one
    of its pages: a matter of moments on a busy machine.
    """
    for _ in range(2):
        try:
            return run()
        except CommandFailed as failed:
            if "sealing memfd copy: Device or resource busy" not in failed.stderr:
                raise
    return run()


def _copy_program(spec: ImageSpec, context: Path, steps: Steps) -> None:
    if not spec.program:
        raise ClusterError(f"image {spec.name}: has no program")
    program = binaries.build([spec.program], steps)[spec.program.name]
    # One time stamp for one content, so that a layer is found again.
    shutil.copy2(program, context / spec.program.name)

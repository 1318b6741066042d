"""Everything below Tertium: the engine's packages, the models, the cluster, the images in it.

python -m e2e.environment NAME     # make it ready, so that what comes next need not wait for it
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from e2e.cluster import Cluster, ClusterError, backends, debian, hosttools, images
from e2e.cluster.progress import Steps
from e2e.cluster.shell import sh

ROOT: Final = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A running cluster, and the folder on its nodes that holds the models."""

    cluster: Cluster
    models: Path


def prepare(name: str, *, gpu_nodes: Sequence[str] = ()) -> Environment:
    """Install and build what lacks, start the cluster unless it is up, load the images; say what is done.

    `gpu_nodes` gives nodes other GPUs than the default, in the words of the cluster tool.

    Raises ClusterError, or CalledProcessError when a tool fails.
    """
    if backends.choose("auto", name).kind == "local":
        hosttools.install(hosttools.LOCAL, Steps())
    # Where the engine's packages are mounted, they must be for the Python of the image that mounts them.
    bare = isinstance(images.choose_builder(), images.Buildah)
    python = debian.python_version(sh("apt-cache", "policy", "python3")) if bare else "3.11"
    packages = _path_printed_by("images/engine-cpu/packages.py", "--python-version", python)
    models = _path_printed_by("-m", "e2e.models")
    cluster = Cluster.up(name, gpu_nodes=gpu_nodes, mounts=[f"{packages}:/opt/vllm"])
    cluster.images()
    return Environment(cluster=cluster, models=models)


def _path_printed_by(*tool: str) -> Path:
    """Run a tool of this repository; its last line is the path of what it made."""
    done = subprocess.run([sys.executable, *tool], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return Path(done.stdout.strip().splitlines()[-1])


def main() -> int:
    """Prepare the environment named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m e2e.environment", description=__doc__.splitlines()[0])
    parser.add_argument("name", help="name of the cluster")
    try:
        prepare(parser.parse_args().name)
    except (ClusterError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Where clusters keep what must outlive the tool: a directory each, with a record of what was asked for."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from e2e.cluster.errors import ClusterError
from e2e.cluster.spec import ClusterSpec


def state_root() -> Path:
    """Return the directory of all clusters: short, because the local back end's unix sockets lie below it."""
    if chosen := os.environ.get("TERTIUM_STATE"):
        return Path(chosen).absolute()
    return (
        Path("/var/lib/tertium-e2e")
        if os.geteuid() == 0
        else Path.home() / ".local" / "state" / "tertium-e2e"
    )


class Record:
    """What a run wrote down about its cluster."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, Any]:
        """Return what is written; empty when there is nothing."""
        return json.loads(self._path.read_text()) if self._path.exists() else {}

    def write(self, spec: ClusterSpec, *, backend: str, up: bool, **more: str) -> None:
        """Write all of it, or nothing if the run dies meanwhile."""
        self._write({"backend": backend, "spec": spec.to_json(), "up": up, **more})

    def mark_down(self) -> None:
        """Say that the cluster is not whole any more."""
        if (record := self.read()).get("up"):
            self._write({**record, "up": False})

    def up_spec(self, name: str) -> ClusterSpec:
        """Return the spec of the running cluster.

        Raises:
            ClusterError: it is not up.
        """
        record = self.read()
        if not record.get("up"):
            raise ClusterError(f"cluster {name}: not up; run `python -m e2e.cluster up --name {name}`")
        return ClusterSpec.from_json(record["spec"])

    def check_same(self, spec: ClusterSpec) -> None:
        """Refuse to take a running cluster for another one. A wish without mounts takes those there are.

        Raises:
            ClusterError: it was made from another spec.
        """
        there = self.up_spec(spec.name)
        if there != (spec if spec.mounts else replace(spec, mounts=there.mounts)):
            raise ClusterError(
                f"cluster {spec.name}: is up with {there.words()}, and {spec.words()} are asked for;"
                " run `down` first or choose another --name"
            )

    def _write(self, record: dict[str, Any]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_suffix(".new")
        temporary.write_text(json.dumps(record, indent=1))
        temporary.rename(self._path)

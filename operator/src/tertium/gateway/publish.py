"""Envoy's files: written so that Envoy never sees half of one, in the order that never leads a route astray.

Level-triggered: `publish` gets the whole wanted state and touches only files that differ from it.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from tertium.api.meta import ObjectKey
from tertium.core.routing import RoutingTable
from tertium.gateway.envoy_admin import CDS_VERSION, RDS_VERSION, eds_version
from tertium.render.envoy.bootstrap import build_bootstrap
from tertium.render.envoy.clusters import Assignments, build_clusters
from tertium.render.envoy.endpoints import build_endpoints
from tertium.render.envoy.layout import (
    BOOTSTRAP_FILE,
    CDS_FILE,
    RDS_FILE,
    Layout,
    Resource,
    eds_file,
)
from tertium.render.envoy.routes import build_routes

_log = logging.getLogger(__name__)


def prepare(layout: Layout, node: str) -> None:
    """Write the bootstrap and files without any deployment, for an Envoy that has yet to start.

    Raises OSError when the directory cannot be written.
    """
    root = Path(layout.directory)
    (root / "eds").mkdir(parents=True, exist_ok=True)
    _replace(root / BOOTSTRAP_FILE, json.dumps(build_bootstrap(layout, node=node), indent=1))
    _replace(root / CDS_FILE, _discovery([])[1])
    _replace(root / RDS_FILE, _discovery([build_routes(RoutingTable())])[1])


class Publisher:
    """Writes the files of one Envoy. It is their only writer.

    A deployment with replicas has its endpoints in a file of its own, up to `most_followed` of them: a change
    reaches Envoy in a millisecond, and its counts of running requests outlive it. The endpoints of all the
    others are in the clusters file.
    """

    def __init__(self, layout: Layout, *, most_followed: int) -> None:
        self._most_followed = most_followed
        self._layout = layout
        self._root = Path(layout.directory)
        self._texts: dict[str, str] = {}
        self._addresses: dict[ObjectKey, tuple[str, ...]] = {}
        self._followed: frozenset[ObjectKey] = frozenset()
        self._written: Assignments = {}
        self.routes: Mapping[str, ObjectKey] | None = None
        """The names that were published."""
        self.versions: dict[str, str] = {}
        """Version of each published file, by the stat in which Envoy shows what it has taken."""

    def publish(
        self,
        table: RoutingTable,
        addresses: Callable[[ObjectKey], tuple[str, ...]],
        awake: Callable[[ObjectKey], bool],
    ) -> None:
        """Bring all files to this state; `awake`: has replicas, answering or not.

        Added: endpoints, then cluster, then route; removed: the reverse. Whatever Envoy has read last, no
        route leads to a cluster it does not have.
        """
        keys = table.models.keys()
        gone = self._addresses.keys() - keys
        self._addresses |= {key: addresses(key) for key in keys}
        followed = self._choose([key for key in keys if awake(key)])
        for key in followed:
            self._put_endpoints(key)
        last = {key: self._written[key] for key in gone if key in self._written}
        wanted = {key: None if key in followed else self._addresses[key] for key in keys}
        self._put_clusters(last | wanted)
        if self.routes != table.routes:
            self._put(RDS_FILE, RDS_VERSION, [build_routes(table)])
            self.routes = table.routes
        self._put_clusters(wanted)
        for key in gone:
            del self._addresses[key]
        for key in self._followed - followed:
            self._drop_endpoints(key)
        self._followed = followed

    def update(self, key: ObjectKey, addresses: tuple[str, ...]) -> bool:
        """Publish the addresses of one deployment in a file of its own.

        False when it has none and its addresses have changed: then `publish` has to write the clusters.
        """
        if key not in self._followed:
            return self._addresses.get(key, addresses) == addresses
        if self._addresses[key] != addresses:
            self._addresses[key] = addresses
            self._put_endpoints(key)
        return True

    def follows(self, key: ObjectKey) -> bool:
        """Whether the deployment's endpoints have a file of their own."""
        return key in self._followed

    def proof(self, key: ObjectKey) -> tuple[str, str]:
        """The stat and the version that show that Envoy has the deployment's endpoints."""
        stat = eds_version(str(key)) if key in self._followed else CDS_VERSION
        return stat, self.versions.get(stat, "")

    def heal(self) -> list[str]:
        """Write again what is missing or was changed by someone else; return those files."""
        wrong = [file for file, text in self._texts.items() if _read(self._root / file) != text]
        for file in wrong:
            self._write(file, self._texts[file])
        for path in (self._root / "eds").glob("*.json"):
            if f"eds/{path.name}" not in self._texts:
                path.unlink(missing_ok=True)
        return wrong

    def offer_again(self, stats: Iterable[str]) -> None:
        """Write the files behind these version stats once more: Envoy did not take them."""
        files = {CDS_VERSION: CDS_FILE, RDS_VERSION: RDS_FILE}
        files |= {eds_version(str(key)): eds_file(key) for key in self._followed}
        for stat in stats:
            self._write(files[stat], self._texts[files[stat]])

    def _choose(self, awake: Sequence[ObjectKey]) -> frozenset[ObjectKey]:
        """Who gets a file of its own: those who have one keep it, the rest by name as far as it goes."""
        ranked = sorted(awake, key=lambda key: (key not in self._followed, key))
        return frozenset(ranked[: self._most_followed])

    def _put_clusters(self, assignments: Assignments) -> None:
        if self._written != assignments or CDS_FILE not in self._texts:
            self._put(CDS_FILE, CDS_VERSION, build_clusters(assignments, self._layout))
            self._written = assignments

    def _put_endpoints(self, key: ObjectKey) -> None:
        resource = build_endpoints(key, self._addresses[key], self._layout)
        self._put(eds_file(key), eds_version(str(key)), [resource])

    def _drop_endpoints(self, key: ObjectKey) -> None:
        del self.versions[eds_version(str(key))]
        del self._texts[eds_file(key)]
        (self._root / eds_file(key)).unlink(missing_ok=True)

    def _put(self, file: str, stat: str, resources: Sequence[Resource]) -> None:
        self.versions[stat], text = _discovery(resources)
        if self._texts.get(file) != text:
            self._texts[file] = text
            if _read(self._root / file) != text:
                self._write(file, text)

    def _write(self, file: str, text: str) -> None:
        try:
            (self._root / "eds").mkdir(exist_ok=True)
            _replace(self._root / file, text)
        except OSError as error:
            # Not fatal: Envoy goes on with what it has, and healing tries again.
            _log.error("file not written", extra={"file": file, "why": str(error)})


def _discovery(resources: Sequence[Resource]) -> tuple[str, str]:
    """Return a discovery response and its version, which Envoy shows in its stats once it has taken it."""
    listed = json.dumps(resources)
    version = hashlib.sha256(listed.encode()).hexdigest()[:16]
    return version, f'{{"version_info": "{version}", "resources": {listed}}}'


def _replace(path: Path, text: str) -> None:
    """Envoy watches for moves: a file written in place would be read half-written, or never."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text)
    temporary.replace(path)


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return None

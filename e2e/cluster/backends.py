"""Which back end a cluster gets."""

import os
from typing import Final

from e2e.cluster import images, kind
from e2e.cluster.backend import Backend
from e2e.cluster.errors import ClusterError
from e2e.cluster.external import ExternalBackend
from e2e.cluster.kind import KindBackend
from e2e.cluster.local.backend import LocalBackend
from e2e.cluster.state import Record, state_root

KINDS: Final = ("auto", "local", "kind", "external")


def choose(wish: str, name: str) -> Backend:
    """Return the back end for a cluster that is to be started.

    `auto` is what $TERTIUM_BACKEND names, else what the cluster of that name has if there is one, else kind
    where it can work, else local; never external, because a KUBECONFIG set by chance is no invitation.

    Raises:
        ClusterError: there is no such kind.
    """
    wish = _from_environment(wish)
    if wish == "auto" and (recorded := _recorded(name)):
        wish = recorded
    if wish == "auto":
        wish = "kind" if images.docker_answers() and not kind.complaint() else "local"
    if wish == "local":
        return LocalBackend(name)
    if wish == "kind":
        return KindBackend(name)
    if wish == "external":
        return ExternalBackend()
    raise ClusterError(f"back end {wish!r}: expected one of {', '.join(KINDS)}")


def existing(wish: str, name: str) -> Backend:
    """Return the back end of a cluster that was started before; `auto` is the one it was started with."""
    wish = _from_environment(wish)
    return choose((_recorded(name) or "local") if wish == "auto" else wish, name)


def _from_environment(wish: str) -> str:
    return os.environ.get("TERTIUM_BACKEND", "auto") if wish == "auto" else wish


def _recorded(name: str) -> str:
    return str(Record(state_root() / name / "cluster.json").read().get("backend", ""))

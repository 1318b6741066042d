"""What is counted in Envoy: requests by cluster and replica, read from its stats, and tokens."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from tertium.render.envoy.layout import ACTIVATOR_HOST

PATTERN: Final = r"^cluster\..*\.(upstream_rq_(active|total)|endpoint\..*\.rq_(active|total))$"
"""What to ask Envoy for."""

_CLUSTER: Final = re.compile(r"cluster\.(?P<cluster>.*)\.upstream_rq_(?P<what>active|total)")
_REPLICA: Final = re.compile(
    r"cluster\.(?P<cluster>.*)\.endpoint\.(?P<address>.*)_\d+\.rq_(?P<what>active|total)"
)


class Calls(NamedTuple):
    """Requests at one replica: running now, and ended."""

    active: int = 0
    finished: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """Requests of one cluster: running now, ever begun (attempts), and by replica address."""

    active: int = 0
    total: int = 0
    by_address: Mapping[str, Calls] = field(default_factory=dict)


class Tokens(NamedTuple):
    """What was answered: requests that told their tokens, those that did not, and the tokens."""

    metered: int = 0
    unmetered: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Meter(NamedTuple):
    """Whose tokens: a deployment, which life of it, and the API key; an empty key: none was asked for."""

    deployment: str
    uid: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """One look at all of it."""

    requests: Mapping[str, Requests] = field(default_factory=dict)
    """By deployment."""
    tokens: Mapping[Meter, Tokens] = field(default_factory=dict)


def read_requests(stats: Mapping[str, Any]) -> Mapping[str, Requests]:
    """Return the requests of each cluster among Envoy's stats; anything else in there is left out."""
    clusters: defaultdict[str, dict[str, int]] = defaultdict(dict)
    replicas: defaultdict[str, defaultdict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    for name, value in stats.items():
        if found := _CLUSTER.fullmatch(name):
            clusters[found["cluster"]][found["what"]] = value
        elif (found := _REPLICA.fullmatch(name)) and (
            address := _address(found["address"])
        ) != ACTIVATOR_HOST:
            replicas[found["cluster"]][address][found["what"]] = value
    return {
        cluster: Requests(
            **numbers,
            by_address={
                address: Calls(
                    active=calls.get("active", 0),
                    finished=max(0, calls.get("total", 0) - calls.get("active", 0)),
                )
                for address, calls in replicas[cluster].items()
            },
        )
        for cluster, numbers in clusters.items()
    }


def _address(stat: str) -> str:
    """Return the IP address in the name of a replica's stat, where Envoy writes `_` for every colon."""
    return stat.strip("[]").replace("_", ":")

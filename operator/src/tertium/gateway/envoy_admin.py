"""Envoy's admin interface: how many requests run, how to drain it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from tertium.core.errors import Retryable
from tertium.render.envoy.layout import ACTIVATOR_HOST, STAT_PREFIX

_DOWNSTREAM: Final = f"http.{STAT_PREFIX}.downstream_rq_active"
_LIMIT: Final = aiohttp.ClientTimeout(total=2.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """Requests of one cluster: running now, ever begun (attempts), and running now by replica address."""

    active: int = 0
    total: int = 0
    by_address: Mapping[str, int] = field(default_factory=dict)


class EnvoyAdmin:
    """The admin interface of the Envoy in this pod. Methods raise `Retryable` when it does not answer."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self._session = session
        self._root = f"http://127.0.0.1:{port}"

    async def stats(self, pattern: str) -> dict[str, Any]:
        """Return the stats whose name matches the regular expression."""
        answer = await self._call("GET", "/stats", {"format": "json", "filter": pattern})
        return {item["name"]: item["value"] for item in answer["stats"] if "value" in item}

    async def requests(self) -> Mapping[str, Requests]:
        """Return the requests of every cluster."""
        found = await self.stats(r"^cluster\..*\.(upstream_rq_(active|total)|endpoint\..*\.rq_active)$")
        numbers: dict[str, dict[str, int]] = {}
        streams: dict[str, dict[str, int]] = {}
        for name, value in found.items():
            cluster, endpoint, rest = name.removeprefix("cluster.").rpartition(".endpoint.")
            if endpoint:
                address = _address(rest)
                if address != ACTIVATOR_HOST:
                    streams.setdefault(cluster, {})[address] = value
            else:
                cluster, _, what = name.removeprefix("cluster.").rpartition(".upstream_rq_")
                numbers.setdefault(cluster, {})[what] = value
        return {
            cluster: Requests(**both, by_address=streams.get(cluster, {}))
            for cluster, both in numbers.items()
        }

    async def running(self) -> int:
        """How many requests of callers are under way."""
        return int((await self.stats(f"^{re.escape(_DOWNSTREAM)}$")).get(_DOWNSTREAM, 0))

    async def draining(self) -> bool:
        """Whether Envoy has been told to drain. The stat of that name is up to five seconds old."""
        return bool((await self._call("GET", "/server_info", {}))["state"] == "DRAINING")

    async def drain(self) -> None:
        """Fail the health check, so that no new callers are sent here, and let connections end gracefully."""
        await self._call("POST", "/healthcheck/fail", {})
        await self._call("POST", "/drain_listeners", {"graceful": "", "skip_exit": ""})

    async def _call(self, method: str, path: str, query: Mapping[str, str]) -> Any:
        try:
            async with self._session.request(
                method, self._root + path, params=query, timeout=_LIMIT
            ) as answer:
                if answer.status != 200:
                    raise Retryable(f"Envoy's admin interface answered {answer.status} to {path}")
                return await answer.json(content_type=None) if method == "GET" else await answer.text()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Retryable(f"Envoy's admin interface did not answer {path}: {error!r}") from error


def _address(stat: str) -> str:
    """Return the IP address in the name of an endpoint's stat, where Envoy writes `_` for every colon."""
    return stat.removesuffix(".rq_active").rpartition("_")[0].strip("[]").replace("_", ":")

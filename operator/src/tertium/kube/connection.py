"""One keep-alive connection pool to the API server: who we are, where it is, time-outs. Knows no objects."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import config as kube_config
from kubernetes.aio.client import Configuration
from kubernetes.aio.client.rest import RESTClientObject

from tertium.api.conditions import Reason
from tertium.api.meta import Manifest
from tertium.core.errors import Retryable, Terminal

JSON: Final = "application/json"
CALL_LIMIT: Final = aiohttp.ClientTimeout(total=15, connect=5)

# Below the API server's own 90 s, so that a write never meets a connection the server is closing.
_KEEP_ALIVE_SECONDS: Final = 75
# A watch event is one line: an object of 1.5 MiB at most.
_LINE_BYTES: Final = 2**21


class Answer(NamedTuple):
    """An answer read to its end."""

    status: int
    body: str
    retry_after: str | None


class Connection:
    """Authenticated HTTP to one API server."""

    def __init__(self, configuration: Any, rest: Any) -> None:
        self._configuration = configuration
        self._rest = rest

    @property
    def server(self) -> str:
        """URL of the API server."""
        return str(self._configuration.host)

    @property
    def tls(self) -> ssl.SSLContext:
        """Whom to trust, and the client's certificate where there is one."""
        context: ssl.SSLContext = self._rest.ssl_context
        return context

    async def authorization(self) -> dict[str, str]:
        """Return the headers that say who we are; a token that rotates is read anew in time."""
        settings = await self._configuration.auth_settings()
        return {setting["key"]: setting["value"] for setting in settings.values()}

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Manifest | bytes | None = None,
        content_type: str = JSON,
        limit: aiohttp.ClientTimeout = CALL_LIMIT,
    ) -> Answer:
        """Return the answer, whatever its status. Raises `Retryable` when there was none."""
        try:
            response = await self.send(
                method, path, query=query, body=body, content_type=content_type, limit=limit
            )
            async with response:
                return Answer(response.status, await response.text(), response.headers.get("Retry-After"))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Retryable(f"{method} {path}: the API server did not answer: {words(error)}") from error

    async def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Manifest | bytes | None = None,
        content_type: str = JSON,
        limit: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        """Return the answer as soon as its head is there; the caller reads and closes it."""
        headers = {"Accept": JSON, "Content-Type": content_type, "User-Agent": "tertium"}
        headers |= await self.authorization()
        url = self.server + path + (f"?{urlencode(query)}" if query else "")
        answer = await self._rest.request(method, url, headers=headers, body=body, _request_timeout=limit)
        response: aiohttp.ClientResponse = answer.response
        return response


@asynccontextmanager
async def connect() -> AsyncIterator[Connection]:
    """Connect as the pod's service account, else by the kubeconfig. Raises `Terminal` without either."""
    configuration = await _configuration()
    rest = RESTClientObject(configuration)
    rest.pool_manager = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=rest.ssl_context, keepalive_timeout=_KEEP_ALIVE_SECONDS),
        read_bufsize=_LINE_BYTES,
    )
    try:
        yield Connection(configuration, rest)
    finally:
        await rest.close()


async def _configuration() -> Any:
    configuration = Configuration()
    try:
        try:
            kube_config.load_incluster_config(client_configuration=configuration)
        except kube_config.ConfigException:
            await kube_config.load_kube_config(client_configuration=configuration)
    except (kube_config.ConfigException, OSError) as error:
        raise Terminal(
            Reason.FORBIDDEN,
            f"no way into a cluster: no service account of a pod, and no usable kubeconfig ({error}); "
            "set KUBECONFIG to the path of one",
        ) from error
    return configuration


def words(error: Exception) -> str:
    """Return what `error` says, or its kind where it says nothing."""
    return str(error) or type(error).__name__

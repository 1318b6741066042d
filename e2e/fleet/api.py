"""A client of the API server that owes nothing to the product: what a test writes, reads and watches."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

from e2e.cluster.local.backend import LocalBackend

LLMDS: Final = "/apis/tertium.dev/v1alpha1"
APPS: Final = "/apis/apps/v1"
LEASES: Final = "/apis/coordination.k8s.io/v1"
CORE: Final = "/api/v1"
BATCH: Final = "/apis/batch/v1"
_SECONDS: Final = 30


class ApiError(Exception):
    """An answer with a status of 400 or more."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Api:
    """Requests as the administrator; each thread has a connection of its own."""

    def __init__(self, backend: LocalBackend) -> None:
        self._host = backend.addresses.control
        ca = str(backend.layout.pki / "ca.crt")
        self.anonymous_tls = ssl.create_default_context(cafile=ca)
        self.tls = ssl.create_default_context(cafile=ca)
        self.tls.load_cert_chain(backend.layout.pki / "admin.crt", backend.layout.pki / "admin.key")
        self._local = threading.local()
        self._connections: list[http.client.HTTPSConnection] = []

    @property
    def address(self) -> tuple[str, int]:
        """Where the API server listens."""
        return (self._host, 6443)

    def get(self, path: str) -> dict[str, Any]:
        """Return an object or a list. Raises ApiError."""
        return self.call("GET", path)

    def find(self, path: str) -> dict[str, Any] | None:
        """Return an object, or None when there is none."""
        try:
            return self.get(path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def items(self, path: str, *, labels: str = "") -> list[dict[str, Any]]:
        """Return the objects of a list."""
        query = f"?labelSelector={quote(labels)}" if labels else ""
        return list(self.get(path + query)["items"])

    def create(self, path: str, manifest: dict[str, Any]) -> dict[str, Any]:
        """Create an object in the collection `path`."""
        return self.call("POST", path, manifest)

    def merge(self, path: str, patch: dict[str, Any]) -> dict[str, Any]:
        """Change fields of an object."""
        return self.call("PATCH", path, patch, "application/merge-patch+json")

    def apply(self, path: str, manifest: dict[str, Any], *, manager: str = "user") -> dict[str, Any]:
        """Server-side apply."""
        query = f"?fieldManager={manager}&force=true"
        return self.call("PATCH", path + query, manifest, "application/apply-patch+yaml")

    def delete(self, path: str) -> None:
        """Delete an object, its dependents in the background; an absent one is no error."""
        with contextlib.suppress(ApiError):
            self.call("DELETE", f"{path}?propagationPolicy=Background")

    def call(
        self, method: str, path: str, body: dict[str, Any] | None = None, kind: str = "application/json"
    ) -> dict[str, Any]:
        """Send one request. Raises ApiError, or OSError when the server does not answer."""
        text = self.text(method, path, None if body is None else json.dumps(body), kind)
        answer: dict[str, Any] = json.loads(text)
        return answer

    def text(self, method: str, path: str, body: str | None = None, kind: str = "application/json") -> str:
        """Send one request and return the answer as it is."""
        # A connection that the server closed meanwhile is replaced once.
        for attempt in (1, 2):
            connection = getattr(self._local, "connection", None)
            if connection is None:
                connection = http.client.HTTPSConnection(*self.address, context=self.tls, timeout=_SECONDS)
                self._local.connection = connection
                self._connections.append(connection)
            try:
                connection.request(method, path, body, {"Content-Type": kind, "Accept": "application/json"})
                answer = connection.getresponse()
                text = answer.read().decode()
                break
            except (OSError, http.client.HTTPException) as broken:
                connection.close()
                self._local.connection = None
                if attempt == 2:
                    raise OSError(f"{method} {path}: {broken!r}") from broken
        if answer.status >= 400:
            with contextlib.suppress(ValueError, KeyError):
                text = json.loads(text)["message"]
            raise ApiError(answer.status, f"{method} {path}: {text}")
        return text

    def close(self) -> None:
        """Close the connections of all threads."""
        for connection in self._connections:
            connection.close()


class Watcher:
    """Notes in a thread, while the context lasts, what happens to a collection from its making on.

    With each event goes the time (`time.monotonic`) at which it reached this client.
    """

    def __init__(self, api: Api, path: str, note: Callable[[float, dict[str, Any]], None]) -> None:
        version = api.get(f"{path}?limit=1")["metadata"]["resourceVersion"]
        self._connection = http.client.HTTPSConnection(*api.address, context=api.tls)
        self._connection.request("GET", f"{path}?watch=true&resourceVersion={version}")
        self._answer = self._connection.getresponse()
        self._note = note
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection.sock is not None:
            with contextlib.suppress(OSError):
                self._connection.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            while line := self._answer.readline():
                self._note(time.monotonic(), json.loads(line))


def path_of(root: str, namespace: str, plural: str, name: str = "") -> str:
    """Return the path of a namespaced collection, or of one object in it."""
    return f"{root}/namespaces/{namespace}/{plural}" + (f"/{name}" if name else "")

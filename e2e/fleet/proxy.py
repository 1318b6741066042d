"""A proxy before the API server that breaks what it is told to break. It speaks plain HTTP to its client."""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from e2e.fleet.api import Api

WRITES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_HOP: Final = frozenset({"connection", "host", "keep-alive", "transfer-encoding", "content-length"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What becomes of one request.

    | forward | status | the API server  | the client               |
    | no      | n      | sees nothing    | gets n                   |
    | no      | None   | sees nothing    | loses its connection     |
    | yes     | None   | does it         | loses its connection     |
    """

    forward: bool = False
    status: int | None = None
    delay: float = 0.0
    then: Callable[[], None] = lambda: None
    """Done before the client hears anything."""


Plan = Callable[[str, str], Fault | None]
"""Method and path of a request -> its fault; None: it passes."""


def passes(method: str, path: str) -> Fault | None:
    """Break nothing."""
    return None


class FaultProxy:
    """`plan` may be changed at any time; it is asked once for each request."""

    def __init__(self, api: Api) -> None:
        self.plan: Plan = passes
        self.injected = 0
        self._watches: set[socket.socket] = set()
        self._lock = threading.Lock()
        proxy = self

        class Handler(_Handler):
            server_proxy = proxy
            upstream = api

        self._server = _Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """What the client takes for the API server."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def cut_watches(self) -> int:
        """Break every watch that runs; return how many there were."""
        with self._lock:
            watches, self._watches = self._watches, set()
        for client in watches:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        return len(watches)

    def close(self) -> None:
        """Stop, and break what runs."""
        self._server.shutdown()
        self._server.server_close()
        self.cut_watches()

    def fault(self, method: str, path: str) -> Fault | None:
        """Ask the plan, one request at a time."""
        with self._lock:
            fault = self.plan(method, path)
            self.injected += fault is not None
        return fault

    @contextlib.contextmanager
    def watched(self, client: socket.socket) -> Any:
        """Count a connection among the watches while the context lasts."""
        with self._lock:
            self._watches.add(client)
        try:
            yield
        finally:
            with self._lock:
                self._watches.discard(client)


def at_random(seed: int, share: float) -> Plan:
    """Break this share of all requests but watches: 409, 429, 500, 503, late, answers and requests lost."""
    rng = random.Random(seed)
    kinds = (
        *(Fault(status=status) for status in (409, 429, 500, 503)),
        *(Fault(), Fault(forward=True), Fault(forward=True, delay=0.3)),
    )

    def plan(method: str, path: str) -> Fault | None:
        if "watch=true" in path or rng.random() >= share:
            return None
        # No read can conflict.
        kind = rng.choice(kinds)
        return Fault(status=500) if kind.status == 409 and method not in WRITES else kind

    return plan


def at_write(count: int, action: Callable[[], None], *, within: str, forward: bool) -> Plan:
    """Do `action` once, at the so-many-th write to a path that holds `within`.

    With `forward` the API server has done it just before, else it never sees it.
    """
    seen = 0

    def plan(method: str, path: str) -> Fault | None:
        nonlocal seen
        if method not in WRITES or within not in path:
            return None
        seen += 1
        return Fault(forward=forward, then=action) if seen == count else None

    return plan


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that was killed is what this is for."""


class _Handler(BaseHTTPRequestHandler):
    """One client connection, and one of its own to the API server."""

    protocol_version = "HTTP/1.1"
    server_proxy: FaultProxy
    upstream: Api

    def setup(self) -> None:
        super().setup()
        host, port = self.upstream.address
        self._api = http.client.HTTPSConnection(host, port, context=self.upstream.anonymous_tls)

    def finish(self) -> None:
        self._api.close()
        super().finish()

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (OSError, http.client.HTTPException):
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _relay(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server_proxy.fault(self.command, self.path)
        if fault is None:
            self._forward(body)
            return
        time.sleep(fault.delay)
        if fault.forward:
            self._ask(body).read()
        fault.then()
        if fault.status is None:
            self.close_connection = True
            return
        text = f'{{"kind":"Status","code":{fault.status},"message":"injected"}}'.encode()
        self.send_response(fault.status)
        if fault.status == 429:
            self.send_header("Retry-After", "1")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _relay

    def _ask(self, body: bytes) -> http.client.HTTPResponse:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        self._api.request(self.command, self.path, body or None, headers)
        return self._api.getresponse()

    def _forward(self, body: bytes) -> None:
        answer = self._ask(body)
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        if "watch=true" in self.path:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            with self.server_proxy.watched(self.connection):
                self._stream(answer)
            return
        data = answer.read()
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, answer: http.client.HTTPResponse) -> None:
        while piece := answer.read1(65536):
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

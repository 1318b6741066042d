"""The caller of the end-to-end tests: when it asks again, and that it says so."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from e2e import caller
from e2e.caller import Caller


@contextmanager
def gateway(*, breaks: int) -> Iterator[str]:
    """A server that closes so many connections without a word, and then answers."""
    left = [breaks]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            if left[0] > 0:
                left[0] -= 1
                self.close_connection = True
                return
            self.send_response(503)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caller, "FIRST_PAUSE_SECONDS", 0.0)


@pytest.mark.parametrize("breaks", [0, 1, 2])
def test_broken_connections_are_counted_and_an_error_is_an_answer(breaks: int) -> None:
    with gateway(breaks=breaks) as url:
        answer = Caller(url=url, retries=2).chat("m")
    assert (answer.status, answer.retries) == (503, breaks)


def test_it_gives_up_after_its_retries() -> None:
    with gateway(breaks=3) as url, pytest.raises(httpx.RemoteProtocolError, match="disconnected"):
        Caller(url=url, retries=2).chat("m")


def test_by_default_it_asks_once() -> None:
    with gateway(breaks=1) as url, pytest.raises(httpx.RemoteProtocolError, match="disconnected"):
        Caller(url=url).chat("m")

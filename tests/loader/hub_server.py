"""A hub on this machine: the URLs that the real hub's client asks, answered from a folder."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "org/name"
TOKEN = "hf_right"


@dataclass(slots=True)
class HubServer:
    """One repository; `faults` holds the status and error code to answer with, by kind of request."""

    files: Path
    faults: dict[str, tuple[int, str]] = field(default_factory=dict)
    token: str | None = None
    ignores_ranges: bool = False
    headers_read: list[str] = field(default_factory=list)
    """The ranges of weight files that were asked for."""
    url: str = ""

    def answer(self, path: str, authorization: str) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body."""
        api = path.startswith("/api/models/")
        if fault := self.faults.get("info" if api else "file"):
            return fault[0], {"X-Error-Code": fault[1]}, b"{}"
        if self.token and authorization != f"Bearer {self.token}":
            return 401, {"X-Error-Code": "RepoNotFound"}, b"{}"
        return self._info(path.removeprefix("/api/models/")) if api else self._file(path)

    def _info(self, path: str) -> tuple[int, dict[str, str], bytes]:
        repository, _, revision = path.partition("/revision/")
        if repository != REPOSITORY:
            return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
        if revision not in ("", "main", "v1"):
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        siblings = [
            {"rfilename": file.name, "size": file.stat().st_size} for file in sorted(self.files.iterdir())
        ]
        return 200, {}, json.dumps({"id": repository, "sha": COMMIT, "siblings": siblings}).encode()

    def _file(self, path: str) -> tuple[int, dict[str, str], bytes]:
        prefix = f"/{REPOSITORY}/resolve/{COMMIT}/"
        file = self.files / path.removeprefix(prefix)
        if not path.startswith(prefix) or not file.is_file():
            return 404, {"X-Error-Code": "EntryNotFound"}, b"{}"
        body = file.read_bytes()
        return 200, {"ETag": f'"{len(body)}"', "X-Repo-Commit": COMMIT}, body


@contextmanager
def serving(files: Path) -> Iterator[HubServer]:
    """Serve a folder as a repository until the block ends."""
    hub = HubServer(files)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, headers, body = hub.answer(
                self.path.partition("?")[0], self.headers["Authorization"] or ""
            )
            asked = self.headers["Range"]
            if asked and self.path.endswith(".safetensors"):
                hub.headers_read.append(asked)
            if status == 200 and asked and not hub.ignores_ranges:
                start, end = asked.removeprefix("bytes=").split("-")
                status, body = 206, body[int(start) : int(end) + 1]
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_: Any) -> None:
            """Keep the test's output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()

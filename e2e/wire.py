"""HTTP as bytes on a connection, for what no client would send."""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import urlsplit


def connect(url: str, *, receive_bytes: int | None = None, seconds: float = 30) -> socket.socket:
    """Connect to the host of a URL; `receive_bytes` makes the receive buffer small, as a slow reader's."""
    place = urlsplit(url)
    connection = socket.socket()
    connection.settimeout(seconds)
    if receive_bytes is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.connect((place.hostname or "", place.port or 80))
    return connection


def post(body: dict[str, Any], *headers: str, path: str = "/v1/chat/completions") -> bytes:
    """A whole request with a JSON body."""
    content = json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: gateway", *headers, "Content-Type: application/json"]
    return "\r\n".join([*lines, f"Content-Length: {len(content)}", "", ""]).encode() + content


def exchange(url: str, sent: bytes, *, seconds: float = 30) -> bytes:
    """Send bytes and return everything that comes until the peer closes; raises TimeoutError."""
    received = b""
    with connect(url, seconds=seconds) as connection:
        connection.sendall(sent)
        while piece := _receive(connection):
            received += piece
    return received


def statuses(received: bytes) -> list[int]:
    """The status of each answer in what came over one connection."""
    lines = received.split(b"\r\n")
    return [int(line.split(b" ")[1]) for line in lines if line.startswith(b"HTTP/1.1 ")]


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionResetError:
        return b""

"""HTTP/2 on a socket: no library of HTTP clients, no limits of time."""

import json
import os
import socket
import sys
from urllib.parse import urlsplit

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset
from plain import body, pieces


def main(model: str, question: str, way: str) -> list[str]:
    """Ask, and return the answer in the pieces in which it came."""
    url = urlsplit(os.environ["OPENAI_BASE_URL"] + "/chat/completions")
    content = body(model, question, way).encode()
    with socket.create_connection((url.hostname, url.port or 80)) as wire:
        connection = H2Connection(H2Configuration(header_encoding="utf-8"))
        connection.initiate_connection()
        fields = {":method": "POST", ":scheme": "http", ":authority": url.netloc, ":path": url.path}
        connection.send_headers(1, [*fields.items(), ("content-type", "application/json")])
        connection.send_data(1, content, end_stream=True)
        wire.sendall(connection.data_to_send())
        return pieces(received(wire, connection), way)


def received(wire: socket.socket, connection: H2Connection) -> bytes:
    """Read to the end of the answer and return its body; raises ConnectionError if it breaks or is no 200."""
    answer = bytearray()
    while data := wire.recv(65536):
        for event in connection.receive_data(data):
            match event:
                case ResponseReceived(headers=headers) if dict(headers)[":status"] != "200":
                    raise ConnectionError(f"expected 200: {headers}")
                case DataReceived(data=part, flow_controlled_length=length):
                    answer += part
                    connection.acknowledge_received_data(length, 1)
                case StreamReset():
                    raise ConnectionError(f"{event} after {bytes(answer)!r}")
                case StreamEnded():
                    return bytes(answer)
        wire.sendall(connection.data_to_send())
    raise ConnectionError(f"the connection ended before the answer: {bytes(answer)!r}")


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))

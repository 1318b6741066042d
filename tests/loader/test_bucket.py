"""A model in a bucket, served by a small S3 of our own: listing and ranged reads."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from tertium.core.errors import Retryable, Terminal
from tertium.loader.bucket import inspect_bucket
from tertium.loader.folder import inspect_folder
from tests.loader.models import write_model, write_sharded_model

SOURCE = "s3://models/team/tiny"
FIRST_READ = "bytes=0-262143"


class Bucket(ThreadingHTTPServer):
    """One bucket, `models`, whose objects are the files below a folder."""

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), Requests)
        self.root = root
        self.reads: list[tuple[str, str]] = []
        self.status = 200


class Requests(BaseHTTPRequestHandler):
    """GET of a range, and ListObjectsV2 with a delimiter."""

    server: Bucket

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query, path = parse_qs(url.query), unquote(url.path)
        if self.server.status != 200:
            self._answer(self.server.status, b"<Error><Code>Refused</Code></Error>")
        elif "list-type" in query:
            self._answer(200, self._listing(query.get("prefix", [""])[0]))
        else:
            self._object(path.removeprefix("/models/"))

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _listing(self, prefix: str) -> bytes:
        found = sorted((self.server.root / prefix).glob("*")) if (self.server.root / prefix).is_dir() else []
        entries = "".join(
            f"<Contents><Key>{prefix}{file.name}</Key><Size>{file.stat().st_size}</Size>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>x</ETag></Contents>"
            for file in found
        )
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>".encode()

    def _object(self, key: str) -> None:
        asked = self.headers["Range"]
        first, last = map(int, re.findall(r"\d+", asked))
        self.server.reads.append((Path(key).name, asked))
        with (self.server.root / key).open("rb") as file:
            file.seek(first)
            part = file.read(last + 1 - first)
        size = (self.server.root / key).stat().st_size
        self._answer(206, part, f"bytes {first}-{first + len(part) - 1}/{size}")

    def _answer(self, status: int, body: bytes, content_range: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", "x")
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    server = Bucket(tmp_path)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    settings = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_REGION": "us-east-1",
        "NO_PROXY": "*",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("write", [write_model, write_sharded_model], ids=["one file", "an index"])
def test_a_bucket_gives_the_facts_that_a_folder_gives(bucket: Bucket, tmp_path: Path, write: object) -> None:
    assert callable(write)
    write(tmp_path / "team" / "tiny")
    assert inspect_bucket(SOURCE) == inspect_folder(tmp_path, "team/tiny", "x")


def test_each_header_is_read_once_and_no_weights(bucket: Bucket, tmp_path: Path) -> None:
    folder = write_sharded_model(tmp_path / "team" / "tiny")
    for name in ("model-1.safetensors", "model-2.safetensors"):
        with (folder / name).open("ab") as file:
            file.truncate(1 << 30)
    inspect_bucket(SOURCE)
    weights = sorted(read for read in bucket.reads if read[0].endswith(".safetensors"))
    assert weights == [("model-1.safetensors", FIRST_READ), ("model-2.safetensors", FIRST_READ)]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        pytest.param({}, f"{SOURCE}: there is no config.json; there is nothing", id="nothing there"),
        pytest.param(
            {"config.json": "{}"},
            f"{SOURCE}: there are no safetensors weights; there is config.json. "
            "Convert the model to safetensors",
            id="no weights",
        ),
        pytest.param(
            {
                "config.json": "{}",
                "model.safetensors.index.json": '{"weight_map": {"a": "b.safetensors"}}',
            },
            f"{SOURCE}: model.safetensors.index.json names b.safetensors, which is not there; copy it again",
            id="an index that names a missing file",
        ),
        pytest.param(
            {"config.json": "{}", "model.safetensors": "\x7f\0\0\0\0\0\0\0{}"},
            f"{SOURCE}: model.safetensors is cut off: its header should end at byte 135; copy it again",
            id="a header that ends before its end",
        ),
        pytest.param(
            {"config.json": "{}", "model.safetensors": ""},
            f"{SOURCE}: model.safetensors is not a safetensors file; copy it again",
            id="an empty file",
        ),
    ],
)
def test_what_is_no_model_is_explained(
    bucket: Bucket, tmp_path: Path, files: dict[str, str], message: str
) -> None:
    folder = tmp_path / "team" / "tiny"
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    with pytest.raises(Terminal) as raised:
        inspect_bucket(SOURCE)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        pytest.param(
            403,
            Terminal,
            "access is refused; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "AWS_SKIP_SIGNATURE=true for a public bucket",
            id="no access",
        ),
        pytest.param(404, Terminal, "there is no such bucket or path", id="no bucket"),
        pytest.param(400, Terminal, "Generic S3 error: ", id="a request that is refused"),
        pytest.param(429, Retryable, "Generic S3 error: ", id="too many requests"),
    ],
)
def test_an_error_of_the_bucket_is_explained(
    bucket: Bucket, status: int, kind: type[Exception], message: str
) -> None:
    bucket.status = status
    with pytest.raises(kind) as raised:
        inspect_bucket(SOURCE)
    assert str(raised.value).startswith(f"{SOURCE}: {message}")


def test_a_bucket_that_cannot_be_reached_may_come_back(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(Retryable, match=f"^{SOURCE}: "):
        inspect_bucket(SOURCE)


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(Terminal, match=r"reading buckets takes an extra: pip install 'tertium\[s3\]'"):
        inspect_bucket(SOURCE)

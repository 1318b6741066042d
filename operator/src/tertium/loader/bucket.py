"""A model in a bucket: config, index and the headers of the weights, each header by one ranged read.

Speaks S3 through obstore, which is an extra of the package: people plan from buckets, the operator's Jobs do
not. Who asks, where and how is what the usual variables say: AWS_ACCESS_KEY_ID, AWS_REGION, AWS_ENDPOINT_URL.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from tertium.core.errors import Retryable
from tertium.core.planner.tensors import Tensor
from tertium.loader.facts import (
    CONFIG,
    INDEX,
    MOST_CONFIG_BYTES,
    MOST_INDEX_BYTES,
    Facts,
    facts_of,
    failed,
    first_line,
    listing,
    model_config,
    not_found,
    shards_of,
    too_large,
)
from tertium.loader.safetensors import fetch_tensors

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_PARALLEL_HEADERS: Final = 16
_FIRST_BYTES: Final = 256 << 10
"""Most headers fit; a longer one takes a second read."""
_RETRIES: Final = 2
_STATUS: Final = re.compile(r"status code: (\d{3})")


def inspect_bucket(source: str) -> Facts:
    """Read config and tensor list of `s3://BUCKET/PATH`.

    Raises Terminal when there is no such model or it cannot be read, Retryable for faults that pass.
    """
    try:
        from obstore.store import from_url  # noqa: PLC0415
    except ImportError:
        raise failed(f"{source}: reading buckets takes an extra: pip install 'tertium[s3]'") from None
    with _explained(source):
        return _Folder(from_url(source, retry_config={"max_retries": _RETRIES}), source).facts()


class _Folder:
    """The files directly below a bucket's path."""

    def __init__(self, store: ObjectStore, source: str) -> None:
        import obstore  # noqa: PLC0415

        self._store, self._source = store, source
        found = obstore.list_with_delimiter(store)["objects"]
        self._sizes = {entry["path"]: entry["size"] for entry in found}

    def facts(self) -> Facts:
        if CONFIG not in self._sizes:
            raise not_found(f"{self._source}: there is no config.json; there is {listing(self._sizes)}")
        config = model_config(self._sizes, lambda name: self._text(name, MOST_CONFIG_BYTES), self._source)
        files = self._weight_files()
        with ThreadPoolExecutor(_PARALLEL_HEADERS) as pool:
            return facts_of(config, [tensor for found in pool.map(self._tensors, files) for tensor in found])

    def _weight_files(self) -> Sequence[str]:
        if INDEX not in self._sizes:
            names = [name for name in self._sizes if name.endswith(".safetensors")]
        else:
            names = list(shards_of(self._text(INDEX, MOST_INDEX_BYTES), self._source))
        missing = [name for name in names if name not in self._sizes]
        if missing:
            raise failed(
                f"{self._source}: {INDEX} names {listing(missing)}, which is not there; copy it again"
            )
        if not names:
            raise failed(
                f"{self._source}: there are no safetensors weights; there is {listing(self._sizes)}. "
                "Convert the model to safetensors"
            )
        return names

    def _text(self, name: str, most: int) -> str:
        if self._sizes[name] > most:
            raise too_large(f"{self._source}: {name}", self._sizes[name], most)
        return self._read(name, 0, self._sizes[name]).decode(errors="replace")

    def _tensors(self, name: str) -> Sequence[Tensor]:
        what, size = f"{self._source}: {name}", self._sizes[name]
        read = partial(self._read, name)
        return fetch_tensors(read, what, guess=min(_FIRST_BYTES, size), file_bytes=size)

    def _read(self, name: str, start: int, end: int) -> bytes:
        import obstore  # noqa: PLC0415

        return bytes(obstore.get_range(self._store, name, start=start, end=end)) if end > start else b""


@contextmanager
def _explained(source: str) -> Iterator[None]:
    """Turn the library's errors into ours: by their kind, or by the status that a general one tells."""
    from obstore import exceptions  # noqa: PLC0415

    refused = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)
    try:
        yield
    except exceptions.BaseError as error:
        status = _STATUS.search(str(error))
        code = int(status[1]) if status else 0
        if isinstance(error, refused) or code in (401, 403):
            raise failed(
                f"{source}: access is refused; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
                "AWS_SKIP_SIGNATURE=true for a public bucket"
            ) from error
        if isinstance(error, exceptions.NotFoundError) or code == 404:
            raise not_found(f"{source}: there is no such bucket or path") from error
        text = f"{source}: {first_line(error)}"
        passing = isinstance(error, exceptions.GenericError) and (code == 429 or not 400 <= code < 500)
        raise (Retryable(text) if passing else failed(text)) from error

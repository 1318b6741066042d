"""A model on a hub, through the hub's own client: config, index and the headers of the weights.

Nothing larger than an index is downloaded. The token never reaches a message.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.client import PARTIAL_CONTENT
from pathlib import Path
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
from tertium.loader.safetensors import PREFIX_BYTES, fetch_tensors

if TYPE_CHECKING:
    from huggingface_hub import HfApi

DEFAULT_ENDPOINT: Final = "https://huggingface.co"
_TIMEOUT_SECONDS: Final = 20
_PARALLEL_HEADERS: Final = 16
# A header describes each tensor in its name and about a hundred bytes; asking for a little more than that
# gets it in one answer. Without an index the number of tensors is unknown.
_ENTRY_BYTES: Final = 224
_FIRST_BYTES: Final = 256 << 10
_CREDENTIALS: Final = (
    "set spec.model.credentialsSecretRef to a Secret whose key `token` holds a token that may read it"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """Where a hub is and who asks."""

    endpoint: str = DEFAULT_ENDPOINT
    token: str | None = None


def inspect_hub(hub: Hub, repository: str, revision: str | None) -> Facts:
    """Read config and tensor list of a repository at a revision, resolved to its commit.

    Raises Terminal when there is no such model or it cannot be read, Retryable for faults that pass.
    """
    # The client reads its settings when it is imported. Its faster transfer wants a cache of its own.
    # Standard output carries one line of JSON, and a pod's log mixes both streams.
    os.environ.update(HF_HUB_DISABLE_XET="1", HF_HUB_DISABLE_PROGRESS_BARS="1")
    from huggingface_hub import HfApi  # noqa: PLC0415

    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
    api = HfApi(endpoint=hub.endpoint, token=hub.token or False)
    with _explained(hub, repository, revision), tempfile.TemporaryDirectory(prefix="tertium-") as scratch:
        return _Repository(api, repository, revision, Path(scratch)).facts()


class _Repository:
    """One repository at one commit."""

    def __init__(self, api: HfApi, name: str, revision: str | None, scratch: Path) -> None:
        info = api.model_info(name, revision=revision, files_metadata=True, timeout=_TIMEOUT_SECONDS)
        self._api, self._name, self._scratch = api, name, scratch
        self._commit = info.sha or ""
        self._sizes = {file.rfilename: file.size for file in info.siblings or ()}
        self._source = f"hf://{name}"

    def facts(self) -> Facts:
        if CONFIG not in self._sizes:
            raise failed(
                f"{self._source}: there is no config.json; the repository holds {listing(self._sizes)}"
            )
        config = model_config(self._sizes, lambda name: self._text(name, MOST_CONFIG_BYTES), self._source)
        with ThreadPoolExecutor(_PARALLEL_HEADERS) as pool:
            files = self._weight_files()
            tensors = [
                tensor for found in pool.map(lambda file: self._tensors(*file), files) for tensor in found
            ]
        return facts_of(config, tensors, revision=self._commit)

    def _weight_files(self) -> Sequence[tuple[str, int]]:
        """Return each file with the bytes that its header should fit into."""
        if INDEX in self._sizes:
            shards = shards_of(self._text(INDEX, MOST_INDEX_BYTES), self._source)
            missing = [name for name in shards if name not in self._sizes]
            if missing:
                raise failed(
                    f"{self._source}: {INDEX} names {listing(missing)}, which the repository does not hold; "
                    "choose another revision"
                )
            return [(name, PREFIX_BYTES + count * _ENTRY_BYTES) for name, count in shards.items()]
        found = [name for name in self._sizes if name.endswith(".safetensors") and "/" not in name]
        if not found:
            raise failed(
                f"{self._source}: there are no safetensors weights; the repository holds "
                f"{listing(self._sizes)}. Choose one that has them"
            )
        return [(name, _FIRST_BYTES) for name in found]

    def _text(self, name: str, most: int) -> str:
        size_bytes = self._sizes[name]
        if size_bytes is not None and size_bytes > most:
            raise too_large(f"{self._source}: {name}", size_bytes, most)
        path = self._api.hf_hub_download(
            self._name, name, revision=self._commit, cache_dir=self._scratch, etag_timeout=_TIMEOUT_SECONDS
        )
        return Path(path).read_text(encoding="utf-8", errors="replace")

    def _tensors(self, file: str, guess: int) -> Sequence[Tensor]:
        what = f"{self._source}: {file}"
        return fetch_tensors(partial(self._read, file), what, guess=guess, file_bytes=self._sizes[file])

    def _read(self, file: str, start: int, end: int) -> bytes:
        """Read a range of a file; a server that ignores ranges is cut off at the end of it."""
        from huggingface_hub import get_session, hf_hub_url  # noqa: PLC0415
        from huggingface_hub.utils import (  # type: ignore[attr-defined]  # noqa: PLC0415
            build_hf_headers,
            hf_raise_for_status,
        )

        url = hf_hub_url(self._name, file, revision=self._commit, endpoint=self._api.endpoint)
        headers = {**build_hf_headers(token=self._api.token), "Range": f"bytes={start}-{end - 1}"}
        with get_session().stream("GET", url, headers=headers, timeout=_TIMEOUT_SECONDS) as response:
            hf_raise_for_status(response)
            found = bytearray()
            skipped = 0 if response.status_code == PARTIAL_CONTENT else start
            for chunk in response.iter_bytes():
                found += chunk
                if len(found) >= skipped + end - start:
                    break
        return bytes(found[skipped : skipped + end - start])


@contextmanager
def _explained(hub: Hub, repository: str, revision: str | None) -> Iterator[None]:
    """Turn the client's errors into ours. The order matters: the first ones are kinds of the last."""
    import httpx  # noqa: PLC0415
    from huggingface_hub import errors  # noqa: PLC0415

    source, endpoint = f"hf://{repository}", hub.endpoint
    try:
        yield
    except errors.GatedRepoError as error:
        raise failed(f"{source} is gated: accept its terms at {endpoint}, then {_CREDENTIALS}") from error
    except errors.RepositoryNotFoundError as error:
        raise not_found(
            f"{source}: {endpoint} has no such model, or it is private: check spec.model.source, "
            f"or {_CREDENTIALS}"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise not_found(f"spec.model.revision: {source} has no branch, tag or commit {revision!r}") from error
    except errors.HfHubHTTPError as error:
        raise _refused(source, endpoint, error.response.status_code, error) from error
    except (httpx.TransportError, errors.LocalEntryNotFoundError, ConnectionError, TimeoutError) as error:
        raise Retryable(f"{source}: cannot reach {endpoint}: {first_line(error)}") from error


def _refused(source: str, endpoint: str, status: int, error: Exception) -> Exception:
    if status in (401, 403):
        return failed(f"{source}: {endpoint} refuses access ({status}): {_CREDENTIALS}")
    if status == 429 or status >= 500:
        return Retryable(f"{source}: {endpoint} answers {status} for now")
    return failed(f"{source}: {endpoint} answers {status}: {first_line(error)}")

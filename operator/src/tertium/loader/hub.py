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
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tertium.core.errors import Retryable
from tertium.loader.facts import (
    INDEX,
    Facts,
    Tensor,
    facts_of,
    failed,
    listing,
    not_found,
    read_config,
    shards_of,
)

if TYPE_CHECKING:
    from huggingface_hub import HfApi

DEFAULT_ENDPOINT: Final = "https://huggingface.co"
_TIMEOUT_SECONDS: Final = 20
_PARALLEL_HEADERS: Final = 8
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
        info = api.model_info(name, revision=revision, timeout=_TIMEOUT_SECONDS)
        self._api, self._name, self._scratch = api, name, scratch
        self._commit = info.sha or ""
        self._files = [file.rfilename for file in info.siblings or ()]
        self._source = f"hf://{name}"

    def facts(self) -> Facts:
        if "config.json" not in self._files:
            raise failed(
                f"{self._source}: there is no config.json; the repository holds {listing(self._files)}"
            )
        config = read_config(self._text("config.json"), self._source)
        with ThreadPoolExecutor(_PARALLEL_HEADERS) as pool:
            tensors = [tensor for found in pool.map(self._tensors, self._weight_files()) for tensor in found]
        return facts_of(config, tensors, revision=self._commit)

    def _weight_files(self) -> Sequence[str]:
        if INDEX in self._files:
            return shards_of(self._text(INDEX), self._source)
        names = [name for name in self._files if name.endswith(".safetensors") and "/" not in name]
        if not names:
            raise failed(
                f"{self._source}: there are no safetensors weights; the repository holds "
                f"{listing(self._files)}. Choose one that has them"
            )
        return names

    def _text(self, name: str) -> str:
        path = self._api.hf_hub_download(
            self._name, name, revision=self._commit, cache_dir=self._scratch, etag_timeout=_TIMEOUT_SECONDS
        )
        return Path(path).read_text(encoding="utf-8", errors="replace")

    def _tensors(self, file: str) -> Sequence[Tensor]:
        header = self._api.parse_safetensors_file_metadata(
            self._name, file, revision=self._commit, timeout=_TIMEOUT_SECONDS
        )
        return [
            Tensor(name, found.dtype, tuple(found.shape), found.data_offsets[1] - found.data_offsets[0])
            for name, found in header.tensors.items()
        ]


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
    except errors.SafetensorsParsingError as error:
        raise failed(f"{source}: a safetensors header cannot be read: {_first_line(error)}") from error
    except errors.HfHubHTTPError as error:
        raise _refused(source, endpoint, error.response.status_code, error) from error
    except (httpx.TransportError, errors.LocalEntryNotFoundError, ConnectionError, TimeoutError) as error:
        raise Retryable(f"{source}: cannot reach {endpoint}: {_first_line(error)}") from error


def _refused(source: str, endpoint: str, status: int, error: Exception) -> Exception:
    if status in (401, 403):
        return failed(f"{source}: {endpoint} refuses access ({status}): {_CREDENTIALS}")
    if status == 429 or status >= 500:
        return Retryable(f"{source}: {endpoint} answers {status} for now")
    return failed(f"{source}: {endpoint} answers {status}: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)

"""Where built things are kept: outside the tree, keyed by what they are made from, safe to delete."""

import hashlib
import os
from pathlib import Path


def cache_root() -> Path:
    """Return `$TERTIUM_CACHE`, or `tertium` in the user's cache directory."""
    if chosen := os.environ.get("TERTIUM_CACHE"):
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).absolute() / "tertium"


def keyed(kind: str, *inputs: bytes | str | Path) -> Path:
    """Return the directory of `kind` for these inputs; a Path counts by the bytes of its file."""
    digest = hashlib.sha256()
    for item in inputs:
        if isinstance(item, Path):
            data = item.read_bytes()
        else:
            data = item.encode() if isinstance(item, str) else item
        # The length keeps ("ab", "c") and ("a", "bc") apart.
        digest.update(b"%d:" % len(data))
        digest.update(data)
    return cache_root() / kind / digest.hexdigest()[:16]

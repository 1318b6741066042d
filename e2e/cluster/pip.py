"""How this machine's pip reaches its package index, handed to image builds as secrets: used, never stored."""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from e2e.cluster.shell import sh

_INSIDE: Final = "/run/secrets/ca.crt"
_WANTED: Final = (
    "index-url",
    "extra-index-url",
    "trusted-host",
    "proxy",
    "timeout",
    "default-timeout",
    "retries",
)


def settings(listing: str) -> dict[str, str]:
    """Return what of `pip config list` matters for reaching an index; the environment wins over files."""
    found: dict[str, str] = {}
    # The environment's lines come first there.
    for scope, name, value in re.findall(r"^([^.\n]+)\.([-\w]+)='(.*)'$", listing, re.MULTILINE):
        if scope in (":env:", "global", "install") and name in (*_WANTED, "cert"):
            found.setdefault(name.removeprefix("default-"), value)
    return found


def configuration(found: dict[str, str]) -> str:
    """Build a pip.conf for inside a build stage, where the certificate bundle has another place."""
    lines = [f"{name} = {_INSIDE if name == 'cert' else value}" for name, value in sorted(found.items())]
    return "\n".join(
        ["[global]", "disable-pip-version-check = true", "root-user-action = ignore", *lines, ""]
    )


@contextlib.contextmanager
def secrets() -> Iterator[list[str]]:
    """Yield the options that give a build the secrets `pip` (configuration) and `ca` (certificates)."""
    found = settings(sh(sys.executable, "-m", "pip", "config", "list", check=False))
    bundle = found.get("cert") or os.environ.get("SSL_CERT_FILE", "")
    if bundle and Path(bundle).is_file():
        found["cert"] = bundle
    else:
        found.pop("cert", None)
    with tempfile.TemporaryDirectory() as work:
        pip_conf = Path(work, "pip.conf")
        pip_conf.write_text(configuration(found))
        options = [f"--secret=id=pip,src={pip_conf}"]
        if "cert" in found:
            options.append(f"--secret=id=ca,src={bundle}")
        yield options

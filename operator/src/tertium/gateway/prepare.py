"""What is done before Envoy starts."""

from __future__ import annotations

import json
from pathlib import Path

from tertium.render.envoy.bootstrap import build_bootstrap
from tertium.render.envoy.layout import BOOTSTRAP_FILE, CERTIFICATE_FILE, Layout
from tertium.render.envoy.tls import build_certificate


def prepare(layout: Layout, node: str) -> None:
    """Write the files that Envoy starts from. Raises OSError when the directory cannot be written."""
    root = Path(layout.directory)
    root.mkdir(parents=True, exist_ok=True)
    (root / BOOTSTRAP_FILE).write_text(json.dumps(build_bootstrap(layout, node=node), indent=1))
    if layout.tls_directory:
        (root / CERTIFICATE_FILE).write_text(json.dumps(build_certificate(layout), indent=1))

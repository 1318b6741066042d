"""Certificates that sign themselves, as files of a Secret of type kubernetes.io/tls."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Mapping
from pathlib import Path

Pair = Mapping[str, Path]
"""Files by the Secret's keys: `tls.crt` and `tls.key`."""


def self_signed(folder: Path, name: str, alternative: str = "DNS:localhost") -> Pair:
    """Make a pair in a folder, for a common name and an alternative one (`DNS:...` or `IP:...`)."""
    pair = {file: folder / file for file in ("tls.crt", "tls.key")}
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
            ),
            *("-days", "1", "-subj", f"/CN={name}", "-addext", f"subjectAltName={alternative}"),
            *("-keyout", pair["tls.key"], "-out", pair["tls.crt"]),
        ],
        check=True,
        capture_output=True,
    )
    return pair


def shown_name(host: str, port: int) -> str:
    """Return whom the certificate names that a server shows now."""
    pem = ssl.get_server_certificate((host, port), timeout=5)
    shown = subprocess.run(
        ["openssl", "x509", "-noout", "-subject"], input=pem, text=True, capture_output=True, check=True
    )
    return shown.stdout.strip().rpartition(" ")[2]

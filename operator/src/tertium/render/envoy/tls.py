"""Encryption towards callers: the certificate of a Secret that is mounted into the pod.

Envoy is told of the files by a file of its own, for only so does it read them again: when the kubelet swaps
the mounted directory for a new one. A pair that does not fit leaves the old one in use.
"""

from __future__ import annotations

from typing import Final

from tertium.render.envoy.layout import CERTIFICATE_FILE, TYPES, Layout, Resource

_TLS: Final = f"{TYPES}.extensions.transport_sockets.tls.v3"
_CERTIFICATE: Final = "certificate"


def build_certificate(layout: Layout) -> Resource:
    """Return the content of the file that says where the certificate is; named as in a TLS Secret."""
    secret = {
        "@type": f"{_TLS}.Secret",
        "name": _CERTIFICATE,
        "tls_certificate": {
            "certificate_chain": {"filename": f"{layout.tls_directory}/tls.crt"},
            "private_key": {"filename": f"{layout.tls_directory}/tls.key"},
            "watched_directory": {"path": layout.tls_directory},
        },
    }
    return {"resources": [secret]}


def encrypted(layout: Layout) -> Resource:
    """Return what the listener's filter chain has more; nothing when there is no certificate."""
    if not layout.tls_directory:
        return {}
    source = {
        "path_config_source": {"path": layout.path(CERTIFICATE_FILE)},
        "resource_api_version": "V3",
    }
    return {
        "transport_socket": {
            "name": "tls",
            "typed_config": {
                "@type": f"{_TLS}.DownstreamTlsContext",
                "common_tls_context": {
                    "alpn_protocols": ["h2", "http/1.1"],
                    "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                    "tls_certificate_sds_secret_configs": [{"name": _CERTIFICATE, "sds_config": source}],
                },
            },
        }
    }

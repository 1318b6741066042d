"""The listener: what is stripped from a request, which filters it passes, what is logged."""

from __future__ import annotations

from typing import Final

from tertium.render.envoy.clusters import FROM_ACTIVATOR
from tertium.render.envoy.filter import before_activator, before_callers, strip_private
from tertium.render.envoy.keys import filters_after_body, filters_before_body
from tertium.render.envoy.layout import (
    ACTIVATOR_HOST,
    BODY_LIMIT_BYTES,
    KEY_HEADER,
    LONGEST_STREAM,
    ROUTES,
    STAT_PREFIX,
    TYPES,
    Layout,
    Resource,
    address,
)
from tertium.render.envoy.replies import build_local_replies
from tertium.render.envoy.tls import encrypted

_HTTP: Final = f"{TYPES}.extensions.filters.http"
_CONNECTION_MANAGER: Final = (
    f"{TYPES}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)
RESUME_STAT_PREFIX: Final = "resume"


def build_listener(layout: Layout) -> Resource:
    """Return the one listener callers connect to."""
    return {
        "name": STAT_PREFIX,
        "address": address("0.0.0.0", layout.listen_port),
        # Routing by body needs the whole body, and so does a replay; without this the limit is 1 MiB.
        "per_connection_buffer_limit_bytes": BODY_LIMIT_BYTES,
        "socket_options": _KEEPALIVE,
        "filter_chains": [
            {"filters": [{"name": "http", "typed_config": _http(layout)}], **encrypted(layout)}
        ],
    }


def build_resume_listener(layout: Layout) -> Resource:
    """Return the listener, on loopback alone, for streams that the activator has opened and sends on.

    It routes and balances as the other does. It believes every header, and neither logs nor counts what the
    other logs and counts.
    """
    http = {
        **_http(layout),
        "stat_prefix": RESUME_STAT_PREFIX,
        "use_remote_address": False,
        "access_log": [],
        "http_filters": [before_activator(layout), _router()],
    }
    del http["early_header_mutation_extensions"]
    return {
        "name": RESUME_STAT_PREFIX,
        "address": address(ACTIVATOR_HOST, layout.resume_port),
        "per_connection_buffer_limit_bytes": BODY_LIMIT_BYTES,
        "filter_chains": [{"filters": [{"name": "http", "typed_config": http}]}],
    }


def build_health_listener(layout: Layout) -> Resource:
    """Return the listener that says whether this pod takes callers: a port of its own, without encryption."""
    nothing = {"virtual_hosts": [{"name": "all", "domains": ["*"]}]}
    http = {
        "@type": _CONNECTION_MANAGER,
        "stat_prefix": "health",
        "request_timeout": "10s",
        "route_config": nothing,
        "http_filters": [_health(), _router()],
    }
    return {
        "name": "health",
        "address": address("0.0.0.0", layout.health_port),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": http}]}],
    }


_KEEPALIVE: Final = [
    # A caller that vanished without a word must not keep a held request, and with it a GPU, alive:
    # SO_KEEPALIVE, then TCP_KEEPIDLE, TCP_KEEPINTVL (seconds) and TCP_KEEPCNT.
    {"level": 1, "name": 9, "int_value": 1, "state": "STATE_PREBIND"},
    {"level": 6, "name": 4, "int_value": 60, "state": "STATE_PREBIND"},
    {"level": 6, "name": 5, "int_value": 15, "state": "STATE_PREBIND"},
    {"level": 6, "name": 6, "int_value": 4, "state": "STATE_PREBIND"},
]


def _http(layout: Layout) -> Resource:
    return {
        "@type": _CONNECTION_MANAGER,
        "stat_prefix": STAT_PREFIX,
        "server_name": "tertium",
        "stream_idle_timeout": LONGEST_STREAM,
        "request_headers_timeout": "10s",
        # Until the whole request is here it only costs memory; 32 MiB take 45 s at 6 Mbit/s.
        "request_timeout": "300s",
        # By default one HTTP/2 connection may have any number of requests and 256 MiB under way.
        "http2_protocol_options": {
            "max_concurrent_streams": 256,
            "initial_stream_window_size": 1 << 20,
            "initial_connection_window_size": 16 << 20,
        },
        # A caller's address is what the peer is, or the last proxy that is trusted. `internal_address_config`
        # stays unset: with it, Envoy would obey x-envoy-... headers of callers with private addresses.
        "use_remote_address": True,
        "xff_num_trusted_hops": layout.trusted_hops,
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD",
        "preserve_external_request_id": True,
        "always_set_request_id_in_response": True,
        "early_header_mutation_extensions": [strip_private(layout)],
        "rds": {"route_config_name": ROUTES, "config_source": FROM_ACTIVATOR},
        "local_reply_config": build_local_replies(),
        "access_log": [_access_log(layout)],
        "http_filters": _filters(layout),
    }


def _filters(layout: Layout) -> list[Resource]:
    before, after = (filters_before_body(), filters_after_body()) if layout.api_keys else ([], [])
    return [*before, before_callers(layout), *after, _router()]


def _health() -> Resource:
    return {
        "name": "health",
        "typed_config": {
            "@type": f"{_HTTP}.health_check.v3.HealthCheck",
            "pass_through_mode": False,
            "headers": [{"name": ":path", "string_match": {"exact": "/healthz"}}],
        },
    }


def _router() -> Resource:
    return {
        "name": "router",
        "typed_config": {
            "@type": f"{_HTTP}.router.v3.Router",
            "suppress_envoy_headers": True,
            # Counting by status and cluster, which nobody reads, costs a request as much as writing its line
            # in the log.
            "dynamic_stats": False,
        },
    }


def _access_log(layout: Layout) -> Resource:
    key = {"key": f"%REQ({KEY_HEADER})%"} if layout.api_keys else {}
    return {
        "name": "stdout",
        "typed_config": {
            "@type": f"{TYPES}.extensions.access_loggers.stream.v3.StdoutAccessLog",
            "log_format": {"json_format": {**_ACCESS_FIELDS, **key}},
        },
    }


_ACCESS_FIELDS: Final = {
    "event": "request",
    "time": "%START_TIME%",
    "requestId": "%REQ(X-REQUEST-ID)%",
    "method": "%REQ(:METHOD)%",
    "path": "%PATH(NQ:PATH)%",
    "route": "%ROUTE_NAME%",
    "status": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "upstream": "%UPSTREAM_HOST%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "bytesReceived": "%BYTES_RECEIVED%",
    "bytesSent": "%BYTES_SENT%",
    "millis": "%DURATION%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
}

"""The listener: what is stripped from a request, how its `model` is read, what is logged."""

from __future__ import annotations

from typing import Final

from tertium.render.envoy.affinity import mark_prefix
from tertium.render.envoy.clusters import FROM_ACTIVATOR
from tertium.render.envoy.forms import MODEL_MISSING, read_form
from tertium.render.envoy.keys import filters_after_body, filters_before_body
from tertium.render.envoy.layout import (
    ACTIVATOR_HOST,
    ASKED_HOLD_HEADER,
    BODY_LIMIT_BYTES,
    KEY_HEADER,
    LONGEST_STREAM,
    METADATA,
    MODEL_STATE,
    RELEASE_HEADER,
    ROUTES,
    STAT_PREFIX,
    TYPES,
    Layout,
    Resource,
    address,
)
from tertium.render.envoy.replies import build_local_replies
from tertium.render.envoy.routes import BODY_NOT_JSON
from tertium.render.envoy.tls import encrypted
from tertium.render.envoy.usage import usage_filter, usage_logs

_HTTP: Final = f"{TYPES}.extensions.filters.http"
RESUME_STAT_PREFIX: Final = "resume"
JSON_CONTENT_TYPE: Final = r"(?i)\s*application/json\s*(;.*)?"


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
        "http_filters": [_read_model(), _name_model(), mark_prefix(), _router()],
    }
    del http["early_header_mutation_extensions"]
    return {
        "name": RESUME_STAT_PREFIX,
        "address": address(ACTIVATOR_HOST, layout.resume_port),
        "per_connection_buffer_limit_bytes": BODY_LIMIT_BYTES,
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
        "@type": f"{TYPES}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
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
        "early_header_mutation_extensions": [_strip()],
        "rds": {"route_config_name": ROUTES, "config_source": FROM_ACTIVATOR},
        "local_reply_config": build_local_replies(),
        "access_log": [_access_log(), *usage_logs()],
        "http_filters": _filters(layout),
    }


def _filters(layout: Layout) -> list[Resource]:
    before, after = (filters_before_body(), filters_after_body()) if layout.api_keys else ([], [])
    return [
        *(_health(), *before),
        *(_read_model(), read_form(), _name_model()),
        *(*after, mark_prefix(), usage_filter(), _router()),
    ]


def _strip() -> Resource:
    """Remove what only Envoy and the activator may say to each other, whoever sent it."""
    return {
        "name": "strip",
        "typed_config": {
            "@type": f"{TYPES}.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
            "mutations": [
                {"remove": ASKED_HOLD_HEADER},
                {"append": {"header": {"key": ASKED_HOLD_HEADER, "value": "%REQ(x-tertium-hold-seconds)%"}}},
                {"remove": RELEASE_HEADER},
                {"remove_on_match": {"key_matcher": {"prefix": "x-tertium-", "ignore_case": True}}},
                {"remove_on_match": {"key_matcher": {"prefix": "x-envoy-", "ignore_case": True}}},
            ],
        },
    }


def _health() -> Resource:
    return {
        "name": "health",
        "typed_config": {
            "@type": f"{_HTTP}.health_check.v3.HealthCheck",
            "pass_through_mode": False,
            "headers": [{"name": ":path", "string_match": {"exact": "/healthz"}}],
        },
    }


def _read_model() -> Resource:
    """Put `model` of a JSON body, or what is wrong with the body, into metadata for the routes."""
    problem = {"metadata_namespace": METADATA, "key": "body"}
    return {
        "name": "read-model",
        "typed_config": {
            "@type": f"{_HTTP}.json_to_metadata.v3.JsonToMetadata",
            "request_rules": {
                "allow_content_types_regex": {"regex": JSON_CONTENT_TYPE},
                "rules": [
                    {
                        "selectors": [{"key": "model"}],
                        "on_present": {"metadata_namespace": METADATA, "key": "model"},
                        "on_missing": {**problem, "value": MODEL_MISSING},
                        "on_error": {**problem, "value": BODY_NOT_JSON},
                    },
                    {
                        "selectors": [{"key": "stream"}],
                        "on_present": {"metadata_namespace": METADATA, "key": "stream"},
                    },
                ],
            },
        },
    }


def _name_model() -> Resource:
    """Put the name where routes are looked up by it; the route chosen before the body was read is void."""
    name = {"text_format_source": {"inline_string": f"%DYNAMIC_METADATA({METADATA}:model)%"}}
    return {
        "name": "name-model",
        "typed_config": {
            "@type": f"{_HTTP}.set_filter_state.v3.Config",
            "on_request_headers": [
                {
                    "object_key": MODEL_STATE,
                    "factory_key": "envoy.string",
                    "format_string": {**name, "omit_empty_values": True},
                    "skip_if_empty": True,
                }
            ],
            "clear_route_cache": True,
        },
    }


def _router() -> Resource:
    return {
        "name": "router",
        "typed_config": {"@type": f"{_HTTP}.router.v3.Router", "suppress_envoy_headers": True},
    }


def _access_log() -> Resource:
    return {
        "name": "stdout",
        # Probes come every two seconds and say nothing about requests.
        "filter": {"not_health_check_filter": {}},
        "typed_config": {
            "@type": f"{TYPES}.extensions.access_loggers.stream.v3.StdoutAccessLog",
            "log_format": {"json_format": _ACCESS_FIELDS},
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
    "key": f"%REQ({KEY_HEADER})%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
}

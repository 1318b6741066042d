"""API keys in Envoy: who is it, how much at once, how often, and may they ask for that.

| filter    | is                                       | changes with             |
| keys      | a script: hash, look-up, guessing        | every key                |
| limiters  | a limiter of requests at once, by slot   | the number of slots      |
| rates     | one token bucket for each key            | nothing                  |
| permit    | a script: the deployment asked for       | nothing                  |
| admitted  | refuses what `permit` did not admit      | nothing                  |

A filter that is replaced forgets what it has counted. So no limit stands in the filter that enforces it: a
request says what it costs and which slot it takes, and a new key leaves the counts of all others alone.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import count
from typing import Final, TypeAlias

from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.extensions.common.matching.v3.extension_matcher_pb2 import ExtensionWithMatcher

# What nothing here names is imported for its descriptors: the filters below carry messages of these kinds.
from envoy.extensions.filters.http.adaptive_concurrency.v3 import adaptive_concurrency_pb2  # noqa: F401
from envoy.extensions.filters.http.composite.v3 import composite_pb2  # noqa: F401
from envoy.extensions.filters.http.lua.v3.lua_pb2 import Lua
from envoy.type.matcher.v3 import http_inputs_pb2  # noqa: F401
from xds.type.matcher.v3.matcher_pb2 import Matcher

from tertium.api.meta import ObjectKey
from tertium.core.api_keys import ApiKey, share
from tertium.render.envoy.clusters import FROM_ACTIVATOR
from tertium.render.envoy.keys_script import check_script, permit_script
from tertium.render.envoy.layout import (
    KEY_HEADER,
    KEY_METADATA,
    SLOT_HEADER,
    TYPES,
    Resource,
    message,
)

KEYS: Final = "keys"
LIMITERS: Final = "limiters"

_HTTP: Final = f"{TYPES}.extensions.filters.http"
_LUA: Final = f"{_HTTP}.lua.v3.Lua"
_BY_MATCH: Final = f"{TYPES}.extensions.common.matching.v3.ExtensionWithMatcher"
_MINUTE: Final = 60_000_000
"""A key's bucket holds a minute, in microseconds, and is filled by one; a request costs a minute's share."""
_MOST_BUCKETS: Final = 10_000
_COMMON_LIMITS: Final = range(1, 17)
_FEWEST_SLOTS: Final = 16
_LIMITED: Final = 423
"""What the limiter of concurrency says, to be told from the limiter of rates; callers read 429."""
_NONE: Final = "-"


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """A limiter of its own: one of those that let `most` requests through at once."""

    most: int
    number: int

    def __str__(self) -> str:
        return f"{self.most}.{self.number}"


Slots: TypeAlias = Mapping[ObjectKey, Slot]
LimiterSizes: TypeAlias = Mapping[int, int]
"""How many slots there are, by limit."""


def _extension(name: str, config: Resource) -> Resource:
    return {"name": name, "typed_config": config}


def assign_slots(keys: Iterable[ApiKey], gateways: int, before: Slots) -> Slots:
    """Give every key with a limit on concurrency a slot; one whose limit is the same keeps its own."""
    wanted = {
        key.name: share(key.most_concurrent, gateways) for key in keys if key.most_concurrent is not None
    }
    slots = {name: slot for name, slot in before.items() if wanted.get(name) == slot.most}
    taken = set(slots.values())
    free = {most: _free(most, taken) for most in set(wanted.values())}
    return slots | {name: next(free[wanted[name]]) for name in sorted(wanted.keys() - slots.keys())}


def _free(most: int, taken: Container[Slot]) -> Iterator[Slot]:
    return (slot for number in count() if (slot := Slot(most, number)) not in taken)


def build_keys(keys: Mapping[str, ApiKey], gateways: int, slots: Slots) -> TypedExtensionConfig:
    """Return the filter that knows the keys, by their hash."""
    rows = "".join(_row(key, gateways, slots.get(key.name)) for key in keys.values())
    script = Lua()
    script.default_source_code.inline_string = check_script(rows)
    script.clear_route_cache.value = False
    extension = TypedExtensionConfig(name=KEYS)
    extension.typed_config.Pack(script, deterministic=True)
    return extension


def limiter_sizes(slots: Slots, before: LimiterSizes) -> LimiterSizes:
    """Return how many slots to have. It never becomes less, and doubles: to change it forgets all counts."""
    sizes = {most: _FEWEST_SLOTS for most in _COMMON_LIMITS} | dict(before)
    for slot in slots.values():
        sizes[slot.most] = max(sizes.get(slot.most, _FEWEST_SLOTS), 1 << slot.number.bit_length())
    return sizes


def build_limiters(sizes: LimiterSizes) -> TypedExtensionConfig:
    """Return the filter that limits requests at once: a limiter for each slot."""
    by_slot = ExtensionWithMatcher()
    by_slot.CopyFrom(_BY_SLOT)
    limiters = by_slot.xds_matcher.matcher_tree.exact_match_map.map
    for most in sorted(sizes):
        limiter = message(Matcher.OnMatch, _limiter(most))
        for number in range(sizes[most]):
            limiters[str(Slot(most, number))].CopyFrom(limiter)
    extension = TypedExtensionConfig(name=LIMITERS)
    extension.typed_config.Pack(by_slot, deterministic=True)
    return extension


def filters_before_body() -> list[Resource]:
    """The filters that need no body; whom they refuse cannot make Envoy keep one."""
    return [_discovered(KEYS, _LUA), _discovered(LIMITERS, _BY_MATCH), _rates()]


def filters_after_body() -> list[Resource]:
    """The filters that need to know the model."""
    return [_extension("permit", _script(permit_script())), _admitted()]


def build_key_replies() -> list[Resource]:
    """Return the error bodies of what the scripts and Envoy's own limiters refuse."""
    code, kind = (f"%DYNAMIC_METADATA({KEY_METADATA}:{name})%" for name in ("code", "kind"))
    by_script = {
        "metadata_filter": {
            "matcher": {"filter": KEY_METADATA, "path": [{"key": "code"}], "value": {"present_match": True}},
            "match_if_key_not_found": False,
        }
    }
    too_often = (
        f"The API key '%REQ({KEY_HEADER})%' may send %DYNAMIC_METADATA({KEY_METADATA}:rate)% requests a "
        "minute, and has. Try again later."
    )
    too_many = (
        f"The API key '%REQ({KEY_HEADER})%' may have %DYNAMIC_METADATA({KEY_METADATA}:most)% requests at the "
        "same time, and has. Try again when one is answered."
    )
    retry_soon = {
        "header": {"key": "retry-after", "value": "1"},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }
    return [
        _reply(by_script, "%LOCAL_REPLY_BODY%", kind, code),
        _reply(_status(429), too_often, "rate_limit_error", "rate_limit_exceeded"),
        {
            **_reply(_status(_LIMITED), too_many, "rate_limit_error", "concurrency_limit_exceeded"),
            "status_code": 429,
            "headers_to_add": [retry_soon],
        },
    ]


@lru_cache(maxsize=20_000)  # one key changes, and ten thousand are written down again
def _row(key: ApiKey, gateways: int, slot: Slot | None) -> str:
    """One key as the script reads it: nine words."""
    cost, retry, rate = 0, _NONE, _NONE
    if key.requests_per_minute is not None:
        here = share(key.requests_per_minute, gateways)
        cost, retry, rate = -(-_MINUTE // here), str(-(-60 // here)), str(key.requests_per_minute)
    words = (
        *(key.digest, key.name, _epoch(key.expires_at), cost, retry, rate),
        *(_NONE if slot is None else slot, _NONE if key.most_concurrent is None else key.most_concurrent),
        ",".join("/".join(entry) for entry in key.allow) or _NONE,
    )
    return " ".join(str(word) for word in words) + "\n"


def _epoch(moment: datetime | None) -> int:
    return 0 if moment is None else max(int(moment.timestamp()), 1)


def _limiter(most: int) -> Resource:
    """Envoy's adaptive limiter with nothing left to adapt: it counts running requests of all threads.

    Its count goes down when the request is over, however it ended: answered, aborted or reset. Threads that
    let a request in at the same moment may let one each.
    """
    adaptive = {
        "@type": f"{_HTTP}.adaptive_concurrency.v3.AdaptiveConcurrency",
        "gradient_controller_config": {
            "concurrency_limit_params": {
                "max_concurrency_limit": most,
                "concurrency_update_interval": "86400s",
            },
            "min_rtt_calc_params": {"fixed_value": "1s", "min_concurrency": most},
        },
        "concurrency_limit_exceeded_status": {"code": _LIMITED},
    }
    execute = {
        "@type": f"{_HTTP}.composite.v3.ExecuteFilterAction",
        "typed_config": _extension("limiter", adaptive),
    }
    return {"action": _extension("limit", execute)}


_BY_SLOT: Final = message(
    ExtensionWithMatcher,
    {
        "extension_config": _extension("by-slot", {"@type": f"{_HTTP}.composite.v3.Composite"}),
        "xds_matcher": {
            "matcher_tree": {
                "input": _extension(
                    "slot",
                    {
                        "@type": "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
                        "header_name": SLOT_HEADER,
                    },
                ),
                "exact_match_map": {},
            }
        },
    },
)


def _rates() -> Resource:
    endless = {"max_tokens": 4_000_000_000, "tokens_per_fill": 4_000_000_000, "fill_interval": "1s"}
    everything = {"default_value": {"numerator": 100}}
    return _extension(
        "rates",
        {
            "@type": f"{_HTTP}.local_ratelimit.v3.LocalRateLimit",
            "stat_prefix": "keys",
            "token_bucket": endless,
            "always_consume_default_token_bucket": False,
            "filter_enabled": everything,
            "filter_enforced": everything,
            "max_dynamic_descriptors": _MOST_BUCKETS,
            "rate_limits": [
                {
                    "actions": [
                        {
                            "metadata": {
                                "descriptor_key": "key",
                                "metadata_key": {"key": KEY_METADATA, "path": [{"key": "rated"}]},
                                "source": "DYNAMIC",
                            }
                        }
                    ],
                    "hits_addend": {"format": f"%DYNAMIC_METADATA({KEY_METADATA}:cost)%"},
                }
            ],
            "descriptors": [
                {
                    "entries": [{"key": "key"}],
                    "token_bucket": {
                        "max_tokens": _MINUTE,
                        "tokens_per_fill": _MINUTE,
                        "fill_interval": "60s",
                    },
                }
            ],
            "response_headers_to_add": [
                {
                    "header": {"key": "retry-after", "value": f"%DYNAMIC_METADATA({KEY_METADATA}:retry)%"},
                    "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                }
            ],
        },
    )


def _admitted() -> Resource:
    admitted = {
        "filter": KEY_METADATA,
        "path": [{"key": "admitted"}],
        "value": {"string_match": {"exact": "yes"}},
    }
    policy = {
        "permissions": [{"any": True}],
        "principals": [{"sourced_metadata": {"metadata_matcher": admitted}}],
    }
    return _extension(
        "admitted",
        {
            "@type": f"{_HTTP}.rbac.v3.RBAC",
            "rules": {"action": "ALLOW", "policies": {"admitted": policy}},
        },
    )


def _discovered(name: str, kind: str) -> Resource:
    return {"name": name, "config_discovery": {"config_source": FROM_ACTIVATOR, "type_urls": [kind]}}


def _script(source: str) -> Resource:
    return {"@type": _LUA, "default_source_code": {"inline_string": source}, "clear_route_cache": False}


def _status(code: int) -> Resource:
    comparison = {"op": "EQ", "value": {"default_value": code, "runtime_key": f"tertium.reply.{code}"}}
    return {"status_code_filter": {"comparison": comparison}}


def _reply(condition: Resource, message: str, kind: str, code: str) -> Resource:
    return {
        "filter": condition,
        "body_format_override": {
            "json_format": {"error": {"message": message, "type": kind, "param": None, "code": code}},
            "content_type": "application/json",
        },
    }

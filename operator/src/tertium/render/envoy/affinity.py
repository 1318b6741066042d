"""Prefix affinity: requests that begin alike go to the replica that has the beginning in its cache.

Only routes of deployments that ask for it run the script. The hash is of the text of the JSON from the key on
that holds the prompt; that is the same text for every turn of a conversation. A replica that is a quarter
busier than the average gives requests away (bounded load).
"""

from __future__ import annotations

from typing import Final

# Imported for their descriptors: routes and clusters carry messages of these kinds.
from envoy.extensions.filters.http.lua.v3 import lua_pb2  # noqa: F401
from envoy.extensions.load_balancing_policies.ring_hash.v3 import ring_hash_pb2  # noqa: F401

from tertium.render.envoy.layout import TYPES, Resource
from tertium.render.envoy.lua import FIND

FILTER: Final = "affinity"
PREFIX_HEADER: Final = "x-tertium-prefix"
_LUA: Final = f"{TYPES}.extensions.filters.http.lua.v3"
_MOST_LOAD_PERCENT: Final = 125


def mark_prefix() -> Resource:
    """Return the filter that hashes the prefix; without a word of the route it does nothing."""
    return {
        "name": FILTER,
        "typed_config": {
            "@type": f"{_LUA}.Lua",
            "source_codes": {"prefix": {"inline_string": _SCRIPT}},
            "clear_route_cache": False,
        },
    }


def route_by_prefix(characters: int) -> Resource:
    """What a route has more when its deployment asks for affinity."""
    return {
        "typed_per_filter_config": {
            FILTER: {
                "@type": f"{_LUA}.LuaPerRoute",
                "name": "prefix",
                "filter_context": {"characters": characters},
            }
        },
        "route": {"hash_policy": [{"header": {"header_name": PREFIX_HEADER}, "terminal": True}]},
    }


def balance_by_prefix() -> Resource:
    """The balancing policy of such a deployment's cluster."""
    return {
        "name": "ring_hash",
        "typed_config": {
            "@type": f"{TYPES}.extensions.load_balancing_policies.ring_hash.v3.RingHash",
            "consistent_hashing_lb_config": {"hash_balance_factor": _MOST_LOAD_PERCENT},
        },
    }


_SCRIPT: Final = (
    FIND
    + """
local bit = require("bit")
local KEYS = {'"messages"', '"prompt"', '"input"', '"query"'}

function envoy_on_request(handle)
  local body = handle:body()
  if not body then return end
  local start = nil
  for _, key in ipairs(KEYS) do
    start = find(body, key, 0)
    if start then break end
  end
  if not start then return end
  local most = handle:filterContext():get("characters")
  local text = body:getBytes(start, math.min(most, body:length() - start))
  local hash = 5381
  for position = 1, #text do
    hash = bit.bxor(bit.tobit(hash * 33), text:byte(position))
  end
  handle:headers():replace("x-tertium-prefix", bit.tohex(hash))
end
"""
)

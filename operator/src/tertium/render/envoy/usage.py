"""How Envoy itself reads how many tokens an answer took, and counts them. No process of ours sees an answer.

A script looks for the object `usage` in the bytes that pass by, whole answers and streams alike, and keeps
none of them. A quotation mark inside a JSON text is always escaped, so `"usage":{` is the key and never
something the model wrote. Of several, the last counts: streams repeat them with growing numbers.

| API                                   | where `usage` stands                              |
| chat, completions, embeddings, rerank | in the answer; in a stream's end, if asked for    |
| responses                             | in the answer; in a stream's `response.completed` |
| messages                              | in the answer; in `message_start`, `message_delta` |

A stream whose caller did not ask for `stream_options.include_usage` tells nothing. It is not made to: the
chunk that tells it has no choices, and callers that take the first of every chunk would fail.
"""

from __future__ import annotations

from typing import Final

from tertium.render.envoy.layout import METADATA, TYPES, Resource

STAT_PREFIX: Final = "usage"
TAG: Final = "of"
COUNTED: Final = ("answered", "unmetered", "prompt_tokens", "completion_tokens")
"""Answers (2xx), those of them that told no usage, and the tokens of the others."""
ROUTE_KEY: Final = "deployment"
"""Key of the route's metadata that says whose tokens these are."""
KEY_HEADER: Final = "x-tertium-key"
"""Whose verified API key it was; only Envoy sets it."""

_NAMESPACE: Final = f"{METADATA}.usage"
_COUNTS: Final = "counts"
_WHOSE: Final = f"%METADATA(ROUTE:{METADATA}:{ROUTE_KEY})%|%REQ({KEY_HEADER})%"
_LONGEST_USAGE_BYTES: Final = 4096
"""More is not kept; vLLM's are a tenth of it."""

_SCRIPT: Final = f"""
local function number(usage, name)
  return tonumber(usage:match('"' .. name .. '"%s*:%s*(%d+)'))
end

local function note(handle, prompt, completion)
  handle:streamInfo():dynamicMetadata():set("{_NAMESPACE}", "{_COUNTS}", {{
    answered = 1,
    unmetered = (prompt or completion) and 0 or 1,
    prompt_tokens = prompt or 0,
    completion_tokens = completion or 0,
  }})
end

function envoy_on_response(handle)
  if handle:headers():get(":status"):sub(1, 1) ~= "2" then return end
  note(handle)
  local prompt, completion
  local rest = ""
  for chunk in handle:bodyChunks() do
    local text = rest .. chunk:getBytes(0, chunk:length())
    local at = 1
    while true do
      local from, to, usage = text:find('"usage"%s*:%s*(%b{{}})', at)
      if not from then break end
      prompt = number(usage, "prompt_tokens") or number(usage, "input_tokens") or prompt
      completion = number(usage, "completion_tokens") or number(usage, "output_tokens") or completion
      at = to + 1
    end
    if at > 1 then note(handle, prompt, completion) end
    -- Kept for the next look: the beginning of an object, or of its key.
    local open = text:find('"usage"', math.max(at, #text - {_LONGEST_USAGE_BYTES}), true)
    while open and text:find('^"usage"%s*:%s*[^%s{{]', open) do
      open = text:find('"usage"', open + 1, true)
    end
    rest = text:sub(open or math.max(at, #text - 6))
  end
end
"""


def usage_filter() -> Resource:
    """Return the filter that puts the counts of an answer into its metadata."""
    return {
        "name": "usage",
        "typed_config": {
            "@type": f"{TYPES}.extensions.filters.http.lua.v3.Lua",
            "default_source_code": {"inline_string": _SCRIPT},
        },
    }


def usage_log() -> Resource:
    """Return the access log that adds the counts of a request to Envoy's counters when it ends."""
    return {
        "name": "usage",
        # Without it every request that was not answered would be an error in Envoy's log.
        "filter": {
            "metadata_filter": {
                "matcher": {
                    "filter": _NAMESPACE,
                    "path": [{"key": _COUNTS}, {"key": COUNTED[0]}],
                    "value": {"present_match": True},
                },
                "match_if_key_not_found": False,
            }
        },
        "typed_config": {
            "@type": f"{TYPES}.extensions.access_loggers.stats.v3.Config",
            # Shared by name, the counters outlive a change of the listener.
            "stats_scope": {"sharing_name": STAT_PREFIX, "prefix": STAT_PREFIX},
            "counters": [
                {
                    "stat": {
                        "name": name,
                        "tags": [{"name": TAG, "value_format": _WHOSE}],
                    },
                    "value_format": f"%DYNAMIC_METADATA({_NAMESPACE}:{_COUNTS}:{name})%",
                }
                for name in COUNTED
            ],
        },
    }

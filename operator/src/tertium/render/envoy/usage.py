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

from tertium.render.envoy.layout import KEY_HEADER, METADATA, TYPES, Resource

STAT_PREFIX: Final = "usage"
TAG: Final = "of"
COUNTED: Final = ("metered", "unmetered", "prompt_tokens", "completion_tokens")
"""Answers (2xx) that told their usage, those that did not, and the tokens of the former."""
ROUTE_KEY: Final = "deployment"
"""Key of the route's metadata that says whose tokens these are."""

_NAMESPACE: Final = f"{METADATA}.usage"
_COUNTS: Final = "counts"
_WHOSE: Final = f"%METADATA(ROUTE:{METADATA}:{ROUTE_KEY})%|%REQ({KEY_HEADER})%"
_LONGEST_USAGE_BYTES: Final = 4096
"""More is not kept; vLLM's are a tenth of it."""

_SCRIPT: Final = f"""
local function number(usage, name)
  return tonumber(usage:match('"' .. name .. '"%s*:%s*(%d+)'))
end

function envoy_on_response(handle)
  if handle:headers():get(":status"):sub(1, 1) ~= "2" then return end
  local prompt, completion
  local rest = ""
  for chunk in handle:bodyChunks() do
    local text = rest .. chunk:getBytes(0, chunk:length())
    -- A plain search first: looking for a pattern at every byte takes fifty times as long.
    local from = text:find('"usage"', 1, true)
    rest = text:sub(-6) -- a key may be cut in two
    while from do
      local _, to, usage = text:find('^"usage"%s*:%s*(%b{{}})', from)
      if usage then
        prompt = number(usage, "prompt_tokens") or number(usage, "input_tokens") or prompt
        completion = number(usage, "completion_tokens") or number(usage, "output_tokens") or completion
        if prompt or completion then
          handle:streamInfo():dynamicMetadata():set("{_NAMESPACE}", "{_COUNTS}",
            {{prompt_tokens = prompt or 0, completion_tokens = completion or 0}})
        end
      elseif #text - from < {_LONGEST_USAGE_BYTES} and not text:find('^"usage"%s*:%s*[^%s{{]', from) then
        rest = text:sub(from) -- so may an object
        break
      end
      from = text:find('"usage"', (to or from) + 1, true)
    end
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


def usage_logs() -> list[Resource]:
    """Return the access logs that add the counts of a request to Envoy's counters when it ends."""
    metered, unmetered, prompt, completion = COUNTED
    tokens = [
        {"stat": _stat(name), "value_format": f"%DYNAMIC_METADATA({_NAMESPACE}:{_COUNTS}:{name})%"}
        for name in (prompt, completion)
    ]
    # Of metadata that are there Envoy compares the value, of others it takes the answer given here.
    told = _metadata(prompt, {"present_match": True}, otherwise=False)
    nothing = _metadata(prompt, {"null_match": {}}, otherwise=True)
    return [
        _log(metered, told, [{"stat": _stat(metered), "value_fixed": 1}, *tokens]),
        _log(
            unmetered,
            {"and_filter": {"filters": [_status("GE", 200), _status("LE", 299), nothing]}},
            [{"stat": _stat(unmetered), "value_fixed": 1}],
        ),
    ]


def _metadata(name: str, value: Resource, *, otherwise: bool) -> Resource:
    matcher = {"filter": _NAMESPACE, "path": [{"key": _COUNTS}, {"key": name}], "value": value}
    return {"metadata_filter": {"matcher": matcher, "match_if_key_not_found": otherwise}}


def _status(comparison: str, status: int) -> Resource:
    value = {"default_value": status, "runtime_key": f"tertium.usage.{comparison}"}
    return {"status_code_filter": {"comparison": {"op": comparison, "value": value}}}


def _log(name: str, which: Resource, counters: list[Resource]) -> Resource:
    return {
        "name": f"usage-{name}",
        "filter": which,
        "typed_config": {
            "@type": f"{TYPES}.extensions.access_loggers.stats.v3.Config",
            # Shared by name, the counters outlive a change of the listener.
            "stats_scope": {"sharing_name": STAT_PREFIX, "prefix": STAT_PREFIX},
            "counters": counters,
        },
    }


def _stat(name: str) -> Resource:
    return {"name": name, "tags": [{"name": TAG, "value_format": _WHOSE}]}

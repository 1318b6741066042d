"""Reading `model` from a form (multipart/form-data), as audio comes: Envoy's JSON filter does not read those.

Only requests of this content type meet the filter. It looks at the body in pieces, at most so many parts and
so many bytes of each part's headers, and copies nothing but the name.
"""

from __future__ import annotations

from typing import Final

from tertium.render.envoy.layout import METADATA, TYPES, Resource
from tertium.render.envoy.lua import FIND

FORM_CONTENT_TYPE: Final = r"(?i)\s*multipart/form-data\s*(;.*)?"
FORM_BROKEN: Final = "form_broken"
MODEL_MISSING: Final = "model_missing"


def read_form() -> Resource:
    """Return the filter: it puts the form's `model`, or what is wrong with the form, where JSON's is put."""
    content_type = {
        "name": "content-type",
        "typed_config": {
            "@type": f"{TYPES}.type.matcher.v3.HttpRequestHeaderMatchInput",
            "header_name": "content-type",
        },
    }
    is_form = {
        "input": content_type,
        "value_match": {"safe_regex": {"google_re2": {}, "regex": FORM_CONTENT_TYPE}},
    }
    skip = {"@type": f"{TYPES}.extensions.filters.common.matcher.action.v3.SkipFilter"}
    return {
        "name": "read-form",
        "typed_config": {
            "@type": f"{TYPES}.extensions.common.matching.v3.ExtensionWithMatcher",
            "xds_matcher": {
                "matcher_list": {
                    "matchers": [
                        {
                            "predicate": {"not_matcher": {"single_predicate": is_form}},
                            "on_match": {"action": {"name": "skip", "typed_config": skip}},
                        }
                    ]
                }
            },
            "extension_config": {
                "name": "read-form",
                "typed_config": {
                    "@type": f"{TYPES}.extensions.filters.http.lua.v3.Lua",
                    "default_source_code": {"inline_string": _SCRIPT},
                    "clear_route_cache": False,
                },
            },
        },
    }


# RFC 7578 and RFC 2046: parts lie between lines of "--" and the boundary, which is of at most 70 characters.
_SCRIPT: Final = FIND + (
    """
local PARTS, HEADERS, NAME = 64, 4096, 256

local function boundary_of(content_type)
  local at = content_type:lower():find("boundary=", 1, true)
  if not at then return nil end
  local rest = content_type:sub(at + 9)
  local found = rest:match('^"([^"]+)"') or rest:match("^([^;%s]+)")
  if found and #found <= 70 then return found end
end

local function read(body, position, most)
  local length = math.min(most, body:length() - position)
  return length > 0 and body:getBytes(position, length) or ""
end

-- The name of the form's field, from the headers of its part.
local function field_of(headers)
  for line in headers:gmatch("[^\\r\\n]+") do
    if line:lower():find("^content%-disposition:") then
      local at = line:lower():find("[;%s]name=")
      local value = at and line:sub(at + 6)
      return value and (value:match('^"([^"]*)"') or value:match("^([^;%s]+)"))
    end
  end
end

local function model_of(body, boundary)
  local delimiter = "--" .. boundary
  local position = find(body, delimiter, 0)
  for _ = 1, PARTS do
    if not position then return nil, "FORM_BROKEN" end
    position = position + #delimiter
    if read(body, position, 2) == "--" then return nil, "MODEL_MISSING" end
    local head = read(body, position, HEADERS)
    local _, last = head:find("\\r\\n\\r\\n", 1, true)
    if not last then return nil, "FORM_BROKEN" end
    if field_of(head:sub(1, last)) == "model" then
      local value = read(body, position + last, NAME + #delimiter + 2)
      local stop = value:find("\\r\\n" .. delimiter, 1, true)
      if not stop then return nil, "FORM_BROKEN" end
      return value:sub(1, stop - 1)
    end
    position = find(body, "\\r\\n" .. delimiter, position + last - 2)
    position = position and position + 2
  end
  return nil, "FORM_BROKEN"
end

function envoy_on_request(handle)
  local boundary = boundary_of(handle:headers():get("content-type"))
  local body = handle:body()
  local model, problem = nil, "FORM_BROKEN"
  if body and boundary then model, problem = model_of(body, boundary) end
  local metadata = handle:streamInfo():dynamicMetadata()
  if model then metadata:set("METADATA", "model", model) end
  metadata:set("METADATA", "body", problem or "form")  -- the JSON filter has said that this is no JSON
end
""".replace('"METADATA"', f'"{METADATA}"')
    .replace('"FORM_BROKEN"', f'"{FORM_BROKEN}"')
    .replace('"MODEL_MISSING"', f'"{MODEL_MISSING}"')
)

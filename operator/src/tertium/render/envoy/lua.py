"""What Envoy's scripts have in common."""

from __future__ import annotations

from typing import Final

FIND: Final = """
local PIECE = 65536

-- Where a text begins at or after a position, from zero. A body may have 32 MiB, of which no copy is made.
local function find(body, text, position)
  local size = body:length()
  while position < size do
    local piece = body:getBytes(position, math.min(PIECE + #text, size - position))
    local at = piece:find(text, 1, true)
    if at then return position + at - 1 end
    position = position + PIECE
  end
end
"""

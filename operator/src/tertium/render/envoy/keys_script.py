"""The two scripts by which Envoy checks API keys, in Lua: one knows the keys, one the deployment asked for.

Envoy compiles them (LuaJIT) in each worker thread. A script that fails lets the request go on, so what admits
a request is a filter of Envoy's own that wants the second script's word for it.
"""

from __future__ import annotations

from typing import Final

from tertium.render.envoy.layout import KEY_HEADER, KEY_METADATA, MODEL_STATE, SLOT_HEADER

_ANSWER: Final = """
-- The body becomes JSON on its way out, by what stands in the metadata.
local function refuse(handle, status, kind, code, message, more)
  local facts = handle:streamInfo():dynamicMetadata()
  facts:set("@METADATA@", "kind", kind)
  facts:set("@METADATA@", "code", code)
  local headers = {[":status"] = status}
  for name, value in pairs(more or {}) do headers[name] = value end
  handle:respond(headers, message)
end
"""

_SHA256: Final = """
local band, bnot, bxor, ror = bit.band, bit.bnot, bit.bxor, bit.ror
local rshift, tobit, tohex = bit.rshift, bit.tobit, bit.tohex

local K = {
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
  0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
  0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
  0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
  0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
  0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
  0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
  0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
}
for i = 1, 64 do K[i] = tobit(K[i]) end
local W = {}

local function sha256(text)
  local bits = #text * 8
  local padded = text .. "\\128" .. ("\\0"):rep((55 - #text) % 64) .. "\\0\\0\\0\\0" .. string.char(
    band(rshift(bits, 24), 255), band(rshift(bits, 16), 255), band(rshift(bits, 8), 255), band(bits, 255))
  local h0, h1, h2, h3 = 0x6a09e667, tobit(0xbb67ae85), 0x3c6ef372, tobit(0xa54ff53a)
  local h4, h5, h6, h7 = 0x510e527f, tobit(0x9b05688c), 0x1f83d9ab, 0x5be0cd19
  for start = 1, #padded, 64 do
    for i = 0, 15 do
      local a, b, c, d = padded:byte(start + i * 4, start + i * 4 + 3)
      W[i + 1] = tobit(a * 16777216 + b * 65536 + c * 256 + d)
    end
    for i = 17, 64 do
      local x, y = W[i - 15], W[i - 2]
      W[i] = tobit(W[i - 16] + bxor(ror(x, 7), ror(x, 18), rshift(x, 3))
        + W[i - 7] + bxor(ror(y, 17), ror(y, 19), rshift(y, 10)))
    end
    local a, b, c, d, e, f, g, h = h0, h1, h2, h3, h4, h5, h6, h7
    for i = 1, 64 do
      local t1 = h + K[i] + W[i]
        + bxor(ror(e, 6), ror(e, 11), ror(e, 25)) + bxor(band(e, f), band(bnot(e), g))
      local t2 = bxor(ror(a, 2), ror(a, 13), ror(a, 22)) + bxor(band(a, b), band(a, c), band(b, c))
      h, g, f, e, d, c, b, a = g, f, e, tobit(d + t1), c, b, a, tobit(t1 + t2)
    end
    h0, h1, h2, h3 = tobit(h0 + a), tobit(h1 + b), tobit(h2 + c), tobit(h3 + d)
    h4, h5, h6, h7 = tobit(h4 + e), tobit(h5 + f), tobit(h6 + g), tobit(h7 + h)
  end
  return tohex(h0) .. tohex(h1) .. tohex(h2) .. tohex(h3) .. tohex(h4) .. tohex(h5) .. tohex(h6) .. tohex(h7)
end
"""

_GUESSES: Final = """
-- Guessing: an address that presented MOST_GUESSES different wrong keys within a minute is refused until the
-- minute is over, right key or wrong. Who was let in from there before is not: address and key are known.
-- The same wrong key again is no guess, so that a forgotten program does not shut out its neighbours.
local MOST_GUESSES, MOST_ADDRESSES, WINDOW = 10, 2048, 60
local MOST_KNOWN, KNOWN_SECONDS = 4096, 600
local guesses, addresses, window_ends = {}, 0, 0
local known, before, known_count, known_ends = {}, {}, 0, 0

-- One home or office has an IPv4 address, or the 64 bits of an IPv6 network.
local function network(address)
  local v6 = address:match("^%[(.-)%]")
  if not v6 then return (address:gsub(":%d+$", "")) end
  local groups, head, tail = {}, v6:match("^(.-)::(.*)$")
  for group in (head or v6):gmatch("[^:]+") do groups[#groups + 1] = group end
  local _, rest = (tail or ""):gsub("[^:]+", "")
  for _ = #groups + 1, 8 - rest do groups[#groups + 1] = "0" end
  for group in (tail or ""):gmatch("[^:]+") do groups[#groups + 1] = group end
  return table.concat(groups, ":", 1, 4)
end

local function shut_out(from, now)
  if now >= window_ends or addresses > MOST_ADDRESSES then
    guesses, addresses, window_ends = {}, 0, now + WINDOW
  end
  local made = guesses[from]
  return made ~= nil and made.count >= MOST_GUESSES
end

local function note_guess(from, digest)
  local made = guesses[from]
  if not made then
    made = {count = 0}
    guesses[from], addresses = made, addresses + 1
  end
  if not made[digest] then made[digest], made.count = true, made.count + 1 end
end

local function note_known(who, now)
  if known[who] then return end
  if now >= known_ends or known_count >= MOST_KNOWN then
    before, known, known_count, known_ends = known, {}, 0, now + KNOWN_SECONDS
  end
  known[who], known_count = true, known_count + 1
end
"""

_CHECK: Final = """
-- What is looked up is a hash: how long that takes tells about hashes, from which no key can be made.
local KEYS, BY_NAME = {}, {}
for digest, key, expires, cost, retry, rate, slot, most, allow in
    ([[@KEYS@]]):gmatch("(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+)\\n") do
  local row = {key = key, expires = tonumber(expires), cost = tonumber(cost), retry = retry, rate = rate,
    slot = slot, most = most, allow = allow}
  KEYS[digest], BY_NAME[key] = row, row
end
local LONGEST = 512

local function presented(headers)
  local bearer = headers:get("authorization")
  bearer = bearer and bearer:match("^[Bb][Ee][Aa][Rr][Ee][Rr]%s+(%S+)%s*$")
  local key = bearer or headers:get("x-api-key") or headers:get("api-key")
  for _, name in ipairs({"authorization", "x-api-key", "api-key"}) do headers:remove(name) end
  return key ~= "" and key or nil
end

local function admit(headers, stream, row)
  headers:replace("@KEY_HEADER@", row.key)
  if row.slot ~= "-" then headers:replace("@SLOT_HEADER@", row.slot) end
  local facts = stream:dynamicMetadata()
  facts:set("@METADATA@", "allow", row.allow)
  if row.most ~= "-" then facts:set("@METADATA@", "most", row.most) end
end

local function charge(stream, row)
  if row.cost == 0 then return end
  local facts = stream:dynamicMetadata()
  facts:set("@METADATA@", "rated", row.key)
  facts:set("@METADATA@", "cost", row.cost)
  facts:set("@METADATA@", "retry", row.retry)
  facts:set("@METADATA@", "rate", row.rate)
end

function envoy_on_request(handle)
  local headers, stream = handle:headers(), handle:streamInfo()
  -- A request that Envoy itself has looked up again is known. Its key is gone, and it was charged before. No
  -- caller can send this header: it is removed from what comes from outside.
  local again = BY_NAME[headers:get("@KEY_HEADER@") or ""]
  if again then return admit(headers, stream, again) end
  local key = presented(headers)
  local challenge = {["www-authenticate"] = 'Bearer realm="tertium"'}
  if not key then
    refuse(handle, "401", "invalid_request_error", "invalid_api_key",
      "No API key was sent. Send it as 'Authorization: Bearer KEY' or as 'x-api-key: KEY'.", challenge)
  end
  local now, from = os.time(), network(stream:downstreamRemoteAddress())
  local digest = #key <= LONGEST and sha256(key) or "too long"
  local row = KEYS[digest]
  if row and row.expires > 0 and row.expires <= now then row = nil end
  local who = row and from .. " " .. row.key
  if shut_out(from, now) and not (who and (known[who] or before[who])) then
    refuse(handle, "429", "rate_limit_error", "too_many_wrong_keys",
      "Too many wrong API keys were sent from your address. Try again later.",
      {["retry-after"] = tostring(window_ends - now)})
  end
  if not row then
    note_guess(from, digest)
    refuse(handle, "401", "invalid_request_error", "invalid_api_key",
      "The API key is not known here, was removed or has expired.", challenge)
  end
  note_known(who, now)
  admit(headers, stream, row)
  charge(stream, row)
end
"""

_PERMIT: Final = """
local function fits(pattern, text)
  if pattern:sub(-1) == "*" then return text:sub(1, #pattern - 1) == pattern:sub(1, -2) end
  return text == pattern
end

local function permitted(allow, namespace, name)
  for one, other in allow:gmatch("([^,/]+)/([^,/]+)") do
    if fits(one, namespace) and fits(other, name) then return true end
  end
  return false
end

function envoy_on_request(handle)
  local headers, stream = handle:headers(), handle:streamInfo()
  headers:remove("@SLOT_HEADER@")
  local facts = stream:dynamicMetadata()
  local known = facts:get("@METADATA@")
  if not known then return end
  handle:metadata() -- has the route looked up by the model's name, which was read after the last look
  local namespace, name = (stream:routeName() or ""):match("^([^/]+)/([^/]+)$")
  if namespace and not permitted(known.allow, namespace, name) then
    local model = stream:filterState():get("@MODEL_STATE@")
    refuse(handle, "403", "invalid_request_error", "model_not_allowed", ("The API key '%s' may not use the "
      .. "model '%s'. GET /v1/models lists those it may use."):format(headers:get("@KEY_HEADER@"), model))
  end
  facts:set("@METADATA@", "admitted", "yes")
end
"""


def check_script(rows: str) -> str:
    """The script that knows the keys; `rows` is a line of nine words for each."""
    return _named(_ANSWER + _SHA256 + _GUESSES + _CHECK).replace("@KEYS@", f"\n{rows}")


def permit_script() -> str:
    """The script that compares the deployment the route leads to with what the key allows."""
    return _named(_ANSWER + _PERMIT)


def _named(script: str) -> str:
    names = {
        "@KEY_HEADER@": KEY_HEADER,
        "@SLOT_HEADER@": SLOT_HEADER,
        "@METADATA@": KEY_METADATA,
        "@MODEL_STATE@": MODEL_STATE,
    }
    for mark, name in names.items():
        script = script.replace(mark, name)
    return script

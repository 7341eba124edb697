-- Items as they travel between servers: how they are asked for, read, put, and which cas id they carry. Worker VM.
-- Does not decide when (coherent.lua, failover.lua).
local state = memcached_proxy
local match, find, sub, format = string.match, string.find, string.sub, string.format

-- a request of our own
function M.request(line, value) return mcp.request(line .. "\r\n", value) end

-- value, client flags, lifetime and cas id of an item, without touching when it was last read
function M.ask_item(key, b) return M.request("mg " .. key .. b .. " v f t c u") end
-- `me`, because any mg of a stale item takes the token of the client that is to refresh it; but 1.6.45's finds no binary key
function M.ask_id(key, b) return M.request(b == "" and "me " .. key or "mg " .. key .. b .. " c u") end
function M.remove_key(key, b) return M.request("md " .. key .. b) end
function M.remove_id(key, b, id) return M.request("md " .. key .. b .. " C" .. id) end

-- the answer to ask_item -> the request that gives back the token that it took from a client, or nil if it took none
function M.give_back(res, key, b)
    local line = res and res:hit() and " " .. (res:line() or "") or ""
    local id = find(line, " W") and find(line, " X") and match(line, " c(%d+)")
    return id and M.request("md " .. key .. b .. " I C" .. id .. " E" .. id) or nil
end

-- what a counter's copy has beside its number
M.COUNTER = "f s c u"
function M.ask_counter(key, b) return M.request("mg " .. key .. b .. " " .. M.COUNTER) end

-- the answer to ask_id -> the id, or nil for a miss. `me` answers with the key in front, which may hold anything but a blank.
function M.id_of(res)
    if not res:hit() then return nil end
    local line = res:line() or ""
    local _, last = find(line, " cas=", 1, true)
    return last and match(line, "^%d+", last + 1) or match(" " .. line, " c(%d+)")
end

-- the same where the server may not have answered: nil if so, false for a miss
function M.id_at(res) return res and res:ok() and (M.id_of(res) or false) end

-- is that version `id`, and one to be copied? A stale item is not.
function M.is_version(res, id) return M.id_at(res) == id and not find(res:line(), " X", 1, true) end

-- what was there before `delta` made `value` of it; nil if that is no number, or began anew at 2^64
function M.before(value, delta)
    local number = delta and math.tointeger(tonumber(value))
    return number and number >= delta and format("%d", number - delta) or nil
end

-- the value in an answer to a meta command, or nil
function M.value_of(res) return match(res:raw_string() or "", "\r\n(.*)\r\n$") end

-- the answer to ask_item -> { value = with its \r\n, size, flags, ttl, id }, all strings; nil for a miss, an error, and
-- what must not be copied: a stale or fetched-by-one item (W X Z) and one in its last second (T0 would mean for ever).
-- raw_string is whole for every size; mcp.request(line, res) would stop at the first network read.
function M.item(res)
    if not res or not res:hit() then return nil end
    local raw = res:raw_string()
    local size, line, at = match(raw or "", "^VA (%d+) ([^\r\n]*)\r\n()")
    if not size then return nil end
    line = " " .. line
    local value, ttl = sub(raw, at), match(line, " t(%-?%d+)")
    if match(line, " [WXZ]") or ttl == "0" or #value ~= size + 2 then return nil end
    return { value = value, size = size, flags = match(line, " f(%d+)"), ttl = ttl, id = match(line, " c(%d+)") }
end

-- The request behind a `ma` that gives its version the id. A number that gets longer, or that somebody holds, as memcached's own LRU
-- maintainer does from an item's second read until it runs again, is made a new item, to which 1.6.45 gives an id of its own whatever E
-- says: nobody could tell then that it was done. Nobody holds the new item yet, so this is done in place.
M.STAMP = "D0 v t E"
function M.stamp(key, b, id) return M.request("ma " .. key .. b .. " " .. M.STAMP .. id) end

-- a number that was counted under `id` -> as M.item, or nil if that can't be told from these answers. res: to M.stamp; after: to ask_id,
-- behind it; copy: to ask_counter, of the version before
function M.counted(res, after, copy, id)
    local ttl, value = match(res and res:raw_string() or "", "^VA %d+ t(%-?%d+)[^\r\n]*\r\n(%d+)\r\n$")
    local line = copy:line()
    if not value or ttl == "0" or not after or M.id_of(after) ~= id or match(line, "%f[%w]s(%d+)") ~= tostring(#value) then
        return nil
    end
    return { value = value .. "\r\n", size = #value, flags = match(line, "%f[%w]f(%d+)"), ttl = ttl, id = id }
end

-- what an `ms` says that puts an item in the place that condition (" C<id>", " ME" for an empty one) tells, its lifetime and
-- cas id kept. ttl: seconds if not the item's own, "-1" for ever
function M.item_says(item, condition, ttl)
    ttl = ttl or item.ttl
    local life = ttl == "-1" and "" or " T" .. ttl
    return "F" .. item.flags .. life .. " E" .. item.id .. condition
end

-- the same as a request
function M.place_item(key, b, item, condition, ttl)
    return M.request("ms " .. key .. " " .. item.size .. b .. " " .. M.item_says(item, condition, ttl), item.value)
end

-- a cas id that all copies of one write carry: milliseconds since 1970 (41 bits), proxy (12), sequence (10); never 0,
-- below 2^63. Never a server's own counter: after a failover another server's could repeat an id that a client holds.
function M.new_id()
    local now = mcp.time_real_millis()
    if not state.node then state.node, state.sequence = M.hash(tostring(state) .. now .. tostring(M)) & 0xfff, 0 end
    state.sequence = (state.sequence + 1) & 0x3ff
    return format("%d", now << 22 | state.node << 10 | state.sequence)
end

-- Key order: which servers hold a key's copies, the authority first. Pure; every proxy and the injector's `locate`
-- must agree on it to the bit, so a change here is a change of ring. Does not know which servers are alive.
local unpack = string.unpack
local TAIL = { "<I1", "<I2", "<I3", "<I4", "<I5", "<I6", "<I7" }
local MULTIPLIER <const> = 0x2545F4914F6CDD1D -- of xorshift64*: odd, well-mixed bits

-- 64 bits from a key: eight bytes at a time, little-endian; wraps around like unsigned arithmetic
function M.hash(key)
    local x, size = #key, #key
    local whole = size - size % 8
    for at = 1, whole, 8 do
        x = (x ~ unpack("<i8", key, at)) * MULTIPLIER
        x = x ~ (x >> 29)
    end
    if whole < size then
        x = (x ~ unpack(TAIL[size - whole], key, whole + 1)) * MULTIPLIER
        x = x ~ (x >> 29)
    end
    x = x * MULTIPLIER
    return x ~ (x >> 32)
end

-- jump consistent hash (Lamping and Veach, 2014) -> 0 .. n-1. From n to n+1 servers only the keys of the new one move.
function M.jump(hash, n)
    local bucket = 0
    while true do
        hash = hash * 2862933555777941757 + 1
        local to = (bucket + 1) * (2147483648.0 / ((hash >> 33) + 1))
        if to >= n then return bucket end
        bucket = to // 1 | 0 -- rounded down, an integer: this runs for every request
    end
end

-- one list, of which the first `size` count: a key's copies are on i, i+1, .. of those, i is the authority
local function rotated(known, size, copies)
    local orders = {}
    for i = 0, size - 1 do
        local order = {}
        for copy = 0, math.min(copies, size) - 1 do
            local x = (i + copy) % size + 1
            if x > known then x, order.unknown = 0, true end
            order[copy + 1] = x
        end
        orders[i] = order
    end
    return function(key) return orders[M.jump(M.hash(key), size)] end
end

-- the order of a key whose copies are at these places of the lists, from 0, `lead` of which leads, from 0
local function across(replicas, lead, places)
    local order, before = {}, 0
    for r, servers in ipairs(replicas) do
        local known = places[r] < #servers
        order[(r - 1 - lead) % #replicas + 1] = known and before + places[r] + 1 or 0
        if not known then order.unknown = true end
        before = before + #servers
    end
    return order
end

-- several lists: one copy in each; the hash says where, and which list leads
local function uneven(replicas)
    return function(key)
        local hash, places = M.hash(key), {}
        for r, servers in ipairs(replicas) do places[r] = M.jump(hash, #servers) end
        return across(replicas, (hash >> 40) % #replicas, places)
    end
end

-- the same where they are equally long: at the same place of each, and the first `size` of each count
local function aligned(replicas, size)
    local lists, orders, places = #replicas, {}, {}
    for place = 0, size - 1 do
        for r = 1, lists do places[r] = place end
        for lead = 0, lists - 1 do orders[place * lists + lead] = across(replicas, lead, places) end
    end
    return function(key)
        local hash = M.hash(key)
        return orders[M.jump(hash, size) * lists + (hash >> 40) % lists]
    end
end

-- replicas: lists of servers; size: how many of a list count, all if nil -> function(key) -> numbers of its servers, authority
-- first. Servers are numbered through all lists from 1. Where one is not in the lists, its number is 0
-- and `unknown` true. Nobody may change the tables it returns: requests share them.
function M.order(replicas, copies, size)
    local first = #replicas[1]
    if #replicas == 1 then return rotated(first, size or first, copies) end
    for _, servers in ipairs(replicas) do
        if #servers ~= first then return uneven(replicas) end
    end
    return aligned(replicas, size or first)
end

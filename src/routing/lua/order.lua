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
    local bucket, next = -1, 0
    while next < n do
        bucket = next
        hash = hash * 2862933555777941757 + 1
        next = math.floor((bucket + 1) * (2147483648.0 / ((hash >> 33) + 1)))
    end
    return bucket
end

-- one list of servers: a key's copies are on i, i+1, .. of the list, i is the authority
local function rotated(size, copies)
    local orders = {}
    for i = 0, size - 1 do
        local order = {}
        for copy = 0, copies - 1 do order[copy + 1] = (i + copy) % size + 1 end
        orders[i] = order
    end
    return function(key) return orders[M.jump(M.hash(key), size)] end
end

-- several lists: one copy in each, at the same place where they are equally long; the hash says which list leads
local function aligned(replicas)
    local lists, first = #replicas, {}
    local before = 0
    for r, servers in ipairs(replicas) do
        first[r] = before + 1
        before = before + #servers
    end
    return function(key)
        local hash = M.hash(key)
        local lead, order = (hash >> 40) % lists, {}
        for r, servers in ipairs(replicas) do
            order[(r - 1 - lead) % lists + 1] = first[r] + M.jump(hash, #servers)
        end
        return order
    end
end

-- replicas: lists of servers -> function(key) -> numbers of its servers, authority first. Servers are numbered through
-- all lists from 1. Nobody may change the tables it returns: requests share them.
function M.order(replicas, copies)
    if #replicas == 1 then return rotated(#replicas[1], copies) end
    return aligned(replicas)
end

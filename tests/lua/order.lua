-- What order.lua must do, claim by claim. Runs in any Lua 5.4 with M.hash, M.jump and M.order defined, and VECTORS, the text
-- of order-vectors.txt: the one inside memcached (wire/order.rs), where it ends with an error in any case, as this is no
-- proxy configuration, and plain `lua5.4`.
local KEYS <const> = 20000

local function claim(holds, ...) if not holds then error("order: " .. string.format(...), 0) end end

local function list(name, size)
    local servers = {}
    for i = 1, size do servers[i] = name .. i .. ":11211" end
    return servers
end

-- fixed for ever: other proxies, other versions and the injector (src/routing/order.rs) must agree
local checked = 0
for hash, key in string.gmatch(VECTORS, "hash (%-?%d+) ([^\n]+)\n") do
    claim(M.hash(key) == math.tointeger(hash), "hash of %q is %d", key, M.hash(key))
    checked = checked + 1
end
for sizes, copies, servers, key in string.gmatch(VECTORS, "order ([%d,]+)/(%d+) ([%d,]+) ([^\n]+)\n") do
    local lists = {}
    for size in string.gmatch(sizes, "%d+") do lists[#lists + 1] = list("s" .. #lists .. "-", tonumber(size)) end
    local order = table.concat(M.order(lists, tonumber(copies))(key), ",")
    claim(order == servers, "%q is on %s of %s", key, order, sizes)
    checked = checked + 1
end
claim(checked > 300, "only %d vectors were found", checked)

-- every server leads about its share
local function spread(order, servers)
    local count = {}
    for n = 1, KEYS do
        local first = order("key:" .. n)[1]
        count[first] = (count[first] or 0) + 1
    end
    for x = 1, servers do
        local share = (count[x] or 0) / KEYS * servers
        claim(share > 0.9 and share < 1.1, "server %d of %d leads %.2f of its share", x, servers, share)
    end
end

for _, size in ipairs({ 1, 2, 3, 5, 16 }) do spread(M.order({ list("a", size) }, 1), size) end
spread(M.order({ list("a", 3), list("b", 3) }, 2), 6)

-- one list: copies are neighbours, each on its own server
local order = M.order({ list("a", 5) }, 3)
for n = 1, 1000 do
    local o = order("k" .. n)
    claim(#o == 3 and o[2] == o[1] % 5 + 1 and o[3] == o[2] % 5 + 1, "k%d is on %s", n, table.concat(o, " "))
end

-- several lists: one copy in each, at the same place where they are equally long
order = M.order({ list("a", 3), list("b", 3), list("c", 4) }, 3)
for n = 1, 1000 do
    local o, at = order("k" .. n), {}
    claim(#o == 3, "k%d has %d copies", n, #o)
    for _, x in ipairs(o) do at[x <= 3 and "a" or x <= 6 and "b" or "c"] = x end
    claim(at.a and at.b and at.c and at.b == at.a + 3, "k%d is on %s", n, table.concat(o, " "))
end

-- growing from 4 to 5 servers moves a fifth of the keys, all of them to the new one
local moved = 0
for n = 1, KEYS do
    local hash = M.hash("key:" .. n)
    local before, after = M.jump(hash, 4), M.jump(hash, 5)
    claim(before == after or after == 4, "key:%d moves between old servers", n)
    if before ~= after then moved = moved + 1 end
end
claim(moved > KEYS * 0.18 and moved < KEYS * 0.22, "%d of %d keys move", moved, KEYS)

io.stderr:write("order: all claims hold\n")
if mcp.backend then error("not a proxy configuration", 0) end

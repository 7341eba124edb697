-- A split: the first of two proxies reaches the first server only, the second the others. Each side writes and removes the same keys,
-- over and over, and writes some of its own; then the paths come back, one after the other, and both read on. On stdout, one line each:
-- the marks that stay, the keys that clients or servers have differently, and what one side wrote alone and is gone.
-- Globals: LIBRARY, SEED; make_proxy (proxy.lua), random, configuration, new_world (world.lua).
math.randomseed(SEED)
local KEYS <const>, OWN <const> = 60, 10 -- of both sides, of each
local LENGTH <const>, LIMIT <const> = 1000, 60000 -- ms
local CUTS <const> = { { 1, 2 }, { 1, 3 }, { 2, 1 } } -- proxy, server
local world = new_world(3, 2)
local conf = configuration(3, 3)
local sides = {}
for p = 1, 2 do sides[p] = make_proxy(world, p, LIBRARY, conf) end
local function set(p, key, value, after) sides[p](("set %s 0 0 %d"):format(key, #value), value .. "\r\n", after, p) end
local function marked()
    for _, server in ipairs(world.servers) do
        local view = server.memory.items["__mcp:v"]
        local marks = view and view.value:match(" [dr]%d.*")
        if marks then return marks end
    end
end

local function write(p, n)
    if not world.split then return end
    local key = "split-" .. n % KEYS
    local function after() world.at(random(300) / 100, function() write(p, n + 1) end) end
    if n % 3 == p then return sides[p]("delete " .. key, nil, after, p) end -- a third of them each side removes
    set(p, key, p == 1 and "left" or "right", after)
end
local function read(p, n)
    if world.over then return end
    sides[p]("get split-" .. n % KEYS, nil, function() world.at(random(200) / 100, function() read(p, n + 1) end) end, p)
end
local function heal()
    world.split = false
    for _, cut in ipairs(CUTS) do world.at(random(150), function() world.set(cut[1], cut[2], "clear") end) end
    for p = 1, 2 do world.at(random(150), function() read(p, 0) end) end
end

for n = 0, KEYS - 1 do set(1, "split-" .. n, "before", function() end) end
world.run(500)
for _, cut in ipairs(CUTS) do world.set(cut[1], cut[2], "cut") end
world.split = true
for p = 1, 2 do
    write(p, 0)
    for n = 1, OWN do world.at(random(LENGTH), function() set(p, "own-" .. p .. "-" .. n, "alone", function() end) end) end
end
world.at(LENGTH, heal)
repeat world.run(world.now + 100) until world.now > LIMIT or world.now > 2 * LENGTH and not marked()
world.over = true
world.run(world.now + 1000)
if marked() then io.write("mark\t", marked(), "\n") end
local function look(key)
    local held = {}
    for p = 1, 2 do
        sides[p]("get " .. key, nil, function(text) held[p] = text:match("\r\n(.*)\r\nEND") or "nothing" end, p)
        world.run(world.now + 1000)
    end
    for x, server in ipairs(world.servers) do
        local item = server.memory.items[key]
        held[2 + x] = item and item.value .. " " .. item.cas or "nothing"
    end
    local same = held[2] == held[1] and held[3] == held[4] and held[4] == held[5] and held[3]:match("%S+") == held[1]
    if not same then io.write("differ\t", key, ": ", table.concat(held, ", "), "\n") end
    return held[1]
end
for n = 0, KEYS - 1 do look("split-" .. n) end
for p = 1, 2 do
    for n = 1, OWN do
        if look("own-" .. p .. "-" .. n) ~= "alone" then io.write("gone\town-", p, "-", n, "\n") end
    end
end
error("the storm is over", 0)

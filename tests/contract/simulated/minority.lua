-- Keys on the fourth and the fifth of five servers, led by the fourth. It misses writes of one proxy, which says so on two members of Q;
-- then another proxy, which has seen that, is left with the third member, which does not know. On stdout what that proxy reads.
-- Globals: LIBRARY, SEED; make_proxy (proxy.lua), random, configuration, new_world (world.lua).
math.randomseed(SEED)
local KEYS <const>, READS <const> = 40, 20
local world = new_world(5, 2)
local conf = configuration(5, 2)
local reader, writer = make_proxy(world, 1, LIBRARY, conf), make_proxy(world, 2, LIBRARY, conf)
local function set(key, value) writer(("set %s 0 0 %d"):format(key, #value), value .. "\r\n", function() end, key) end
local function read(key, left)
    reader("get " .. key, nil, function(text)
        io.write("told\t", key, " ", text:match("\r\n(.*)\r\nEND") or "nothing", "\n")
        if left > 1 then world.at(20 + random(60), function() read(key, left - 1) end) end
    end, key)
end
for n = 1, KEYS do set("key" .. n, "before") end
world.run(500)
local keys = {}
for n = 1, KEYS do
    local function on(x) return world.servers[x].memory.items["key" .. n] end
    if on(4) and on(5) then keys[#keys + 1] = "key" .. n end
end

for _, x in ipairs({ 3, 4 }) do world.set(2, x, "cut") end
for _, key in ipairs(keys) do set(key, "after") end
world.run(world.now + 1000)
for _, key in ipairs(keys) do reader("get " .. key, nil, function() end, key) end -- it sees the mark
world.run(world.now + 500)
for _, x in ipairs({ 1, 2 }) do world.set(1, x, "cut") end
for _, key in ipairs(keys) do read(key, READS) end
world.run(world.now + 5000)
error("the storm is over", 0)

-- An increment of what a copy has not heard of yet: the item that it made has to be asked for. Before that the authority is restarted, empty.
-- What the client is told, and then a reader, on stdout.
-- Globals: LIBRARY, SEED; make_proxy (proxy.lua), random, configuration, new_world (world.lua).
math.randomseed(SEED)
local KEY <const> = "number"
local world = new_world(2, 2)
local conf = configuration(2, 2)
local proxies = {}
for p = 1, 2 do proxies[p] = make_proxy(world, p, LIBRARY, conf) end
local function ask(p, line, value, after) proxies[p](line, value, after or function() end, p) end
local function tell(text) io.write("told\t", text:match("\r\n(%d+)\r\n") or text:match("%S+"), "\n") end
ask(1, "set " .. KEY .. " 0 0 1", "1\r\n")
world.run(160 + random(40))
local leads = world.leads[KEY]
for p = 1, 2 do ask(p, "get " .. KEY) end -- both know the view
world.run(world.now + 10)

world.set(1, 3 - leads, "clear", 4)
world.set(2, 3 - leads, "clear", 6)
ask(2, "set " .. KEY .. " 0 0 1", "5\r\n")
world.at(0.9, function() ask(1, "incr " .. KEY .. " 1", nil, tell) end)
world.at(8, function()
    world.kill(leads)
    world.start(leads)
end)
world.run(world.now + 3000)
ask(2, "get " .. KEY, nil, tell)
world.run(world.now + 1000)
error("the storm is over", 0)

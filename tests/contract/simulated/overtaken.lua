-- A write that is built upon another and reaches a copy before it, which refuses; and a third that is built upon it before its proxy looks
-- again, the answer to which is lost. What the clients were told on stdout, in order: a read of the first value, the second write's answer, the
-- number that the third, an increment, has made, and what is read in the end.
-- Globals: LIBRARY, SEED; make_proxy (proxy.lua), random, configuration, new_world (world.lua).
math.randomseed(SEED)
local KEY <const> = "number"
local world = new_world(2, 2)
local conf = configuration(2, 2)
local proxies = {}
for p = 1, 2 do proxies[p] = make_proxy(world, p, LIBRARY, conf) end
local function ask(p, line, value, after) proxies[p](line, value, after or function() end, p) end
local function set(p, value, after) ask(p, "set " .. KEY .. " 0 0 1", value .. "\r\n", after) end
local function tell(text) io.write("told\t", text:match("\r\n(%d+)\r\n") or text:match("%S+"), "\n") end
set(1, 0)
world.run(160 + random(40))
local leads = world.leads[KEY]
for p = 1, 2 do ask(p, "get " .. KEY) end -- both know the view
world.run(world.now + 10)

world.set(1, 3 - leads, "clear", 4)
set(1, 5, function()
    world.set(1, leads, "replieslost")
    ask(1, "incr " .. KEY .. " 1", nil, tell)
end)
world.at(0.9, function()
    ask(2, "get " .. KEY, nil, function(text)
        tell(text)
        set(2, 7, tell)
    end)
end)
world.at(2.6, function() world.set(2, leads, "clear", 25) end)
world.run(world.now + 3000)
ask(2, "get " .. KEY, nil, tell)
world.run(world.now + 1000)
error("the storm is over", 0)

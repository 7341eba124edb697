-- A key's authority freezes. One proxy finds that out, and 20 ms later another, whose clock is behind, so its mark seems to be the older
-- one. On stdout for how many ms the first one's client waited.
-- Globals: LIBRARY, SEED; make_proxy (proxy.lua), random, configuration, new_world (world.lua).
math.randomseed(SEED)
local KEY <const> = "text"
local world = new_world(3, 2)
local conf = configuration(3, 3)
local proxies = {}
for p = 1, 2 do proxies[p] = make_proxy(world, p, LIBRARY, conf) end
local function ask(p, line, value, after) proxies[p](line, value, after or function() end, line) end
ask(1, "set " .. KEY .. " 0 0 1", "1\r\n")
world.run(160 + random(40))
local leads = world.leads[KEY]
for p = 1, 2 do ask(p, "get " .. KEY) end -- both know the view
world.run(world.now + 10)

world.freeze(leads)
local start = world.now
ask(2, "get " .. KEY, nil, function() io.write("told\t", ("%.0f"):format(world.now - start), "\n") end)
world.at(20, function() ask(1, "get " .. KEY) end)
for wait = 1, 300, 5 do world.at(wait, function() ask(2, "get other" .. wait) end) end -- so that it sees the view
world.run(world.now + 3000)
error("the storm is over", 0)

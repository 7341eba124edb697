-- Three proxies write one key, each upon the write before; the copies hear of the first two late, and of the third at once. Then the
-- authority dies, before the first proxy could look what became of its own there. What is read in the end on stdout.
-- Globals: LIBRARY, SEED; make_proxy (proxy.lua), random, configuration, new_world (world.lua).
math.randomseed(SEED)
local KEY <const> = "text"
local world = new_world(3, 3)
local conf = configuration(3, 3)
local proxies = {}
for p = 1, 3 do proxies[p] = make_proxy(world, p, LIBRARY, conf) end
local function ask(p, line, value, after) proxies[p](line, value, after or function() end, p) end
local function set(p) ask(p, "set " .. KEY .. " 0 0 1", p .. "\r\n") end
set(3)
world.run(160 + random(40))
local leads = world.leads[KEY]
for p = 1, 3 do ask(p, "get " .. KEY) end -- all know the view
world.run(world.now + 10)

for x = 1, 3 do
    if x ~= leads then
        world.set(1, x, "clear", 6)
        world.set(2, x, "clear", 60)
    end
end
set(1)
world.at(0.9, function() set(2) end)
world.at(1.5, function() set(3) end)
world.at(10, function() world.kill(leads) end)
world.run(world.now + 3000)
ask(3, "get " .. KEY, nil, function(text) io.write("told\t", text:match("\r\n(%d+)\r\n") or text:match("%S+"), "\n") end)
world.run(world.now + 1000)
error("the storm is over", 0)

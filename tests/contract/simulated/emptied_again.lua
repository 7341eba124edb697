-- All servers have been emptied, one after the other, and nobody filled them. The one that leads a key since is emptied once more. What an
-- increment of that key, the first request to come, is told on stdout.
-- Globals: LIBRARY, SEED; make_proxy (proxy.lua), random, configuration, new_world (world.lua).
math.randomseed(SEED)
local world = new_world(3, 1)
local ask = make_proxy(world, 1, LIBRARY, configuration(3, 3))
local function empty(x)
    world.kill(x)
    world.start(x)
end
local function use(n)
    for key = 1, n do ask("get number" .. key, nil, function() end, key) end
    world.run(world.now + 1000)
end
use(9)
for x = 1, 3 do
    empty(x)
    use(9)
    use(9)
end
ask("set number 0 0 1", "1\r\n", function() end, 0)
world.run(world.now + 2000 + random(40))
empty(1)
ask("incr number 1", nil, function(text) io.write("told\t", text:match("%S+"), "\n") end, 0)
world.run(world.now + 3000)
error("the storm is over", 0)

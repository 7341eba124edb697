-- A proxy's read goes along with its reading of the view to a slow server, and comes back when a later reading has seen a mark. On stdout how long
-- the proxy's request for a key of the marked server takes, in ms.
-- Globals: SEED; new_scene, tell (scene.lua).
math.randomseed(SEED)
local world, ask, set, _, led_by = new_scene(5, 2, 2)
local slow, lost = led_by(4), led_by(5)
ask(2, "get " .. slow)
world.run(world.now + 200)
world.set(2, 4, "clear", 50)
world.set(1, 5, "blackhole")
set(1, lost, 1)
world.at(136, function() ask(2, "get " .. slow) end)
world.at(150, function()
    local start = world.now
    ask(2, "get " .. lost, nil, function() tell(("%.0f"):format(world.now - start)) end)
end)
world.run(world.now + 1000)
error("the storm is over", 0)

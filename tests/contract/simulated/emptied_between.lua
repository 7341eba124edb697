-- An increment of what a copy has not heard of yet: the item that it made has to be asked for. Before that the authority is restarted, empty.
-- What the client is told, and then a reader, on stdout.
-- Globals: SEED; new_scene, tell (scene.lua).
math.randomseed(SEED)
local KEY <const> = "number"
local world, ask, set, meet = new_scene(2, 2)
local leads = meet(KEY)

world.set(1, 3 - leads, "clear", 4)
world.set(2, 3 - leads, "clear", 6)
set(2, KEY, 5)
world.at(0.9, function() ask(1, "incr " .. KEY .. " 1", nil, tell) end)
world.at(8, function()
    world.kill(leads)
    world.start(leads)
end)
world.run(world.now + 3000)
ask(2, "get " .. KEY, nil, tell)
world.run(world.now + 1000)
error("the storm is over", 0)

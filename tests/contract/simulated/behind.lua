-- Three proxies write one key, each upon the write before; the copies hear of the first two late, and of the third at once. Then the
-- authority dies, before the first proxy could look what became of its own there. What is read in the end on stdout.
-- Globals: SEED; new_scene, tell, far (scene.lua).
math.randomseed(SEED)
local KEY <const> = "text"
local world, ask, set, meet = new_scene(3, 3)
local leads = meet(KEY)

far(world, 1, leads, 6)
far(world, 2, leads, 60)
set(1, KEY, 1)
world.at(0.9, function() set(2, KEY, 2) end)
world.at(1.5, function() set(3, KEY, 3) end)
world.at(10, function() world.kill(leads) end)
world.run(world.now + 3000)
ask(3, "get " .. KEY, nil, tell)
world.run(world.now + 1000)
error("the storm is over", 0)

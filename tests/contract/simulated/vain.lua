-- Two proxies far from the copies of a key write it, one upon the other; a third removes it, and its removals are there before both. Then the
-- leader dies. On stdout what the third one reads.
-- Globals: SEED; new_scene, tell, far (scene.lua).
math.randomseed(SEED)
local KEY <const> = "text"
local world, ask, set, meet = new_scene(3, 3)
local leads = meet(KEY)
ask(1, "delete " .. KEY)
world.run(world.now + 5)
far(world, 2, leads, 10)
far(world, 3, leads, 10)
set(2, KEY, 1)
world.at(2, function() set(3, KEY, 2) end)
world.at(4, function() ask(1, "delete " .. KEY) end)
world.run(world.now + 100)
world.kill(leads)
ask(1, "get " .. KEY, nil, tell)
world.run(world.now + 1000)
error("the storm is over", 0)

-- A set and a removal of one proxy reach the leader of a key, whose answers to that proxy are lost. Another proxy sees both, and writes the key anew;
-- then the first one does at the next leader what it has in doubt. On stdout what the other one reads at last.
-- Globals: SEED; new_scene, tell (scene.lua).
math.randomseed(SEED)
local KEY <const> = "text"
local world, ask, set, meet = new_scene(3, 2)
local leads = meet(KEY)
ask(2, "delete " .. KEY)
world.run(world.now + 2)
world.set(2, leads, "replieslost")
set(2, KEY, 1)
world.at(1 + random(20) / 10, function() ask(2, "delete " .. KEY) end)
world.at(5 + random(60), function() set(1, KEY, 2) end)
for wait = 1, 400, 5 do world.at(wait, function() ask(1, "get other" .. wait) end) end -- so that it sees the view
world.run(world.now + 600)
ask(1, "get " .. KEY, nil, tell)
world.run(world.now + 1000)
error("the storm is over", 0)

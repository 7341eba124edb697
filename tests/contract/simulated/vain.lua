-- Two proxies far from the copies of a key write it, one upon the other; a third removes it, and its removals are there before both. Then the
-- leader dies. On stdout what the third one reads.
-- Globals: SEED; new_scene, tell (scene.lua).
math.randomseed(SEED)
local KEY <const> = "text"
local world, ask, set, meet = new_scene(3, 3)
local leads = meet(KEY)
ask(1, "delete " .. KEY)
world.run(world.now + 5)
for x = 1, 3 do
    if x ~= leads then
        world.set(2, x, "clear", 10)
        world.set(3, x, "clear", 10)
    end
end
set(2, KEY, 1)
world.at(2, function() set(3, KEY, 2) end)
world.at(4, function() ask(1, "delete " .. KEY) end)
world.run(world.now + 100)
world.kill(leads)
ask(1, "get " .. KEY, nil, tell)
world.run(world.now + 1000)
error("the storm is over", 0)

-- A set is in doubt at two leaders of a key, one after the other, and is done at last. When all are trusted again, a removal by the same proxy is in
-- doubt. On stdout for how many ms its client waited.
-- Globals: SEED; new_scene (scene.lua).
math.randomseed(SEED)
local KEY <const>, AGAIN <const>, BACK <const> = "text", 230.6 + random(10) / 10, 8000 -- ms after which the set is done again, and all are trusted again
local world, ask, set, meet = new_scene(3, 1)
local leads = meet(KEY)
local function replies(state)
    for x = 1, 3 do world.set(1, x, state) end
end
world.set(1, leads, "replieslost")
set(1, KEY, 1)
world.at(AGAIN, function() replies("replieslost") end)
world.at(AGAIN + 200, function() replies("clear") end)
for wait = 1, BACK, 20 do world.at(wait, function() ask(1, "get other" .. wait) end) end
world.run(world.now + BACK)
world.set(1, leads, "replieslost")
local start = world.now
ask(1, "delete " .. KEY, nil, function() io.write("told\t", ("%.0f"):format(world.now - start), "\n") end)
world.run(world.now + 3000)
error("the storm is over", 0)

-- A key's authority freezes. One proxy finds that out, and 20 ms later another, whose clock is behind, so its mark seems to be the older
-- one. On stdout for how many ms the first one's client waited.
-- Globals: SEED; new_scene (scene.lua).
math.randomseed(SEED)
local KEY <const> = "text"
local world, ask, _, meet = new_scene(3, 2)
local leads = meet(KEY)

world.freeze(leads)
local start = world.now
ask(2, "get " .. KEY, nil, function() io.write("told\t", ("%.0f"):format(world.now - start), "\n") end)
world.at(20, function() ask(1, "get " .. KEY) end)
for wait = 1, 300, 5 do world.at(wait, function() ask(2, "get other" .. wait) end) end -- so that it sees the view
world.run(world.now + 3000)
error("the storm is over", 0)

-- A write that is built upon another and reaches a copy before it, which refuses; and a third that is built upon it before its proxy looks
-- again, the answer to which is lost. What the clients were told on stdout, in order: a read of the first value, the second write's answer, the
-- number that the third, an increment, has made, and what is read in the end.
-- Globals: SEED; new_scene, tell (scene.lua).
math.randomseed(SEED)
local KEY <const> = "number"
local world, ask, set, meet = new_scene(2, 2)
local leads = meet(KEY)

world.set(1, 3 - leads, "clear", 4)
set(1, KEY, 5, function()
    world.set(1, leads, "replieslost")
    ask(1, "incr " .. KEY .. " 1", nil, tell)
end)
world.at(0.9, function()
    ask(2, "get " .. KEY, nil, function(text)
        tell(text)
        set(2, KEY, 7, tell)
    end)
end)
world.at(2.6, function() world.set(2, leads, "clear", 25) end)
world.run(world.now + 3000)
ask(2, "get " .. KEY, nil, tell)
world.run(world.now + 1000)
error("the storm is over", 0)

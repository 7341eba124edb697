-- Proxies that have asked nothing for long each read a key once, while the key's leader misses what another one has written, is made whole again, and
-- leads again. On stdout what each read, or, where nothing happens (QUIET), how long it took, in ms.
-- Globals: SEED, QUIET; new_scene, tell (scene.lua).
math.randomseed(SEED)
local KEY <const>, READERS <const>, EVERY <const> = "text", 80, 25
local world, ask, set, meet = new_scene(3, 1 + READERS)
local leads = meet(KEY)
set(1, KEY, 1)
world.run(world.now + 300)
if not QUIET then
    world.set(1, leads, "cut")
    set(1, KEY, 2)
    world.run(world.now + 400)
    world.set(1, leads, "clear")
end
for at = 0, READERS * EVERY, 10 do world.at(at, function() ask(1, "get other") end) end -- so that it mends what it has marked
for p = 2, 1 + READERS do
    world.at((p - 2) * EVERY, function()
        local start = world.now
        ask(p, "get " .. KEY, nil, function(text) tell(QUIET and ("%.3f"):format(world.now - start) or text) end)
    end)
end
world.run(world.now + READERS * EVERY + 1000)
error("the storm is over", 0)

-- All servers have been emptied, one after the other, and nobody filled them. The one that leads a key since is emptied once more. What an
-- increment of that key, the first request to come, is told on stdout.
-- Globals: SEED; new_scene, tell (scene.lua), random (world.lua).
math.randomseed(SEED)
local world, ask, set = new_scene(3, 1)
local function empty(x)
    world.kill(x)
    world.start(x)
end
local function use(n)
    for key = 1, n do ask(1, "get number" .. key) end
    world.run(world.now + 1000)
end
use(9)
for x = 1, 3 do
    empty(x)
    use(9)
    use(9)
end
set(1, "number", 1)
world.run(world.now + 2000 + random(40))
empty(1)
ask(1, "incr number 1", nil, tell)
world.run(world.now + 3000)
error("the storm is over", 0)

-- The leader of a key freezes. The mark of the proxy that finds out is a moment longer on its way to two members of Q than to the first, so some of
-- many others read it on one member only. On stdout how many ms later the last of them knew another leader.
-- Globals: SEED; new_scene (scene.lua).
math.randomseed(SEED)
local PROXIES <const>, SEEN <const> = 40, 215 -- ms after which all others have seen the mark
local world, ask, _, _, led_by = new_scene(5, PROXIES, 2)
local key, other = led_by(4), led_by(1)
for _, x in ipairs({ 2, 3 }) do world.set(1, x, "clear", 1.4) end
for p = 2, PROXIES do
    for at = random(700) / 10, 500, 6 do world.at(at, function() ask(p, "get " .. other) end) end
end
world.run(world.now + 200)
world.freeze(4)
local start, last = world.now, 0
ask(1, "get " .. key)
for p = 2, PROXIES do
    world.at(SEEN, function() ask(p, "get " .. key, nil, function() last = math.max(last, world.now - start) end) end)
end
world.run(world.now + 600)
io.write("told\t", ("%.0f"):format(last), "\n")
error("the storm is over", 0)

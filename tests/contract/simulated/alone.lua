-- A proxy can't reach the leader of a key, nor two of the members of Q, so its mark stands on the third one only, where another proxy's glance
-- may not look. Both count. On stdout the numbers that the clients were told.
-- Globals: SEED, IDLE (ms for which the other proxy asks nothing after the mark); new_scene, tell (scene.lua).
math.randomseed(SEED)
local COUNT <const>, EVERY <const> = 60, 4
local world, ask, _, _, led_by = new_scene(5, 2, 2)
local key = led_by(4)
local function count(p, left)
    ask(p, "incr " .. key .. " 1", nil, function(text)
        tell(text)
        if left > 1 then world.at(EVERY, function() count(p, left - 1) end) end
    end)
end
for at = 0, 400 + random(200), EVERY do world.at(at, function() ask(2, "get " .. key) end) end
world.run(world.now + 600 + (IDLE > 0 and IDLE or -random(200)))
ask(1, "get " .. key)
world.run(world.now + 2)
local members = { 1, 2, 3 }
table.remove(members, 1 + random(3))
for _, x in ipairs({ 4, table.unpack(members) }) do world.set(1, x, "cut") end
count(1, COUNT)
world.at(IDLE, function() count(2, COUNT) end)
world.run(world.now + 5000)
error("the storm is over", 0)

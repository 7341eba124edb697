-- The answers of one server take longer to the first of two proxies than its view lasts; the second, cut off from that server, goes on
-- without it. Both count the same keys at once. On stdout the numbers that the clients were told, with their key.
-- Globals: SEED; new_scene (scene.lua), random (world.lua).
math.randomseed(SEED)
local KEYS <const> = 30
local world, ask = new_scene(3, 2)
for n = 1, KEYS do ask(1, "set number" .. n .. " 0 0 1", "0\r\n") end
world.run(200)
for p = 1, 2 do ask(p, "get number1") end -- both know the view
world.run(world.now + 10)

world.set(1, 1, "clear", 50 + random(15)) -- each way; both together are less than TIMEOUT
world.set(2, 1, "cut")
for n = 1, KEYS do
    for p = 1, 2 do
        ask(p, "incr number" .. n .. " 1", nil, function(text) io.write("told\tnumber", n, " ", text:match("^%C*"), "\n") end)
    end
end
world.run(world.now + 3000)
error("the storm is over", 0)

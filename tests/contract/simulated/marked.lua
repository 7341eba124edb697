-- All servers of a key are marked, and the marks stand in one order on the first member of Q, in another on the others. One proxy can't
-- read the first. Both proxies count the same keys at once. On stdout the numbers that the clients were told, with their key.
-- Globals: SEED; new_scene (scene.lua), random (world.lua).
math.randomseed(SEED)
local VIEW <const> = "__mcp:v"
local world, ask = new_scene(3, 2, 2)
for n = 1, 20 do ask(1, "set number" .. n .. " 0 0 1", "0\r\n") end
world.run(200)

local keys = {}
for n = 1, 20 do
    if not world.servers[1].memory.items["number" .. n] then keys[#keys + 1] = "number" .. n end
end
world.set(2, 1, "cut")
for x, server in ipairs(world.servers) do
    local first, second = " d1-2.00000001n5", " d1-3.00000001n6"
    if x > 1 then first, second = second, first end
    local view = server.memory.items[VIEW]
    view.value = view.value:gsub("\r\n$", "") .. first .. second .. (view.value:match("\r\n$") or "")
end
local function round(p, left)
    for _, key in ipairs(keys) do
        ask(p, "incr " .. key .. " 1", nil, function(text) io.write("told\t", key, " ", text:match("^%C*"), "\n") end)
    end
    if left > 1 then world.at(20 + random(10), function() round(p, left - 1) end) end
end
for p = 1, 2 do ask(p, "get " .. keys[1]) end -- both see the marks
world.run(world.now + 1000)
for p = 1, 2 do round(p, 10) end
world.run(world.now + 3000)
error("the storm is over", 0)

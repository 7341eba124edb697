-- A server is marked, trusted again, and marked by another proxy, while one proxy asks for nothing and so sees the first and the last of that only.
-- Then both proxies count. On stdout the numbers that the clients were told.
-- Globals: SEED; new_scene, tell (scene.lua).
math.randomseed(SEED)
local KEY <const>, VIEW <const> = "number", "__mcp:v"
local world, ask, _, meet = new_scene(3, 2)
local function incr(p) ask(p, "incr " .. KEY .. " 1", nil, tell) end
-- changes the marks that all servers hold
local function mark(from, to)
    for _, server in ipairs(world.servers) do
        local view = server.memory.items[VIEW]
        view.value = view.value:gsub("\r\n$", ""):gsub(from, to) .. "\r\n"
    end
end
local function look(first)
    for p = first, 2 do ask(p, "get " .. KEY) end
    world.run(world.now + 500)
end
local lost = " d1-" .. meet(KEY) .. ".0000000"
world.run(world.now + 500) -- their views have run out
mark("$", lost .. "1n5")
look(1)
mark(" d1%S+", "")
look(2)
ask(2, "get " .. KEY)
world.run(world.now + 5) -- the second one uses it again, by a view without marks
mark("$", lost .. "2n6")
for n = 0, 9 do world.at(5 * n, function() incr(2) end) end
incr(1)
world.run(world.now + 3000)
error("the storm is over", 0)

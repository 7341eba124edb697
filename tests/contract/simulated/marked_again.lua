-- A server is marked, trusted again, and marked by another proxy, while one proxy asks for nothing and so sees the first and the last of that only.
-- Then both proxies count. On stdout the numbers that the clients were told.
-- Globals: LIBRARY, SEED; make_proxy (proxy.lua), random, configuration, new_world (world.lua).
math.randomseed(SEED)
local KEY <const>, VIEW <const> = "number", "__mcp:v"
local world = new_world(3, 2)
local conf = configuration(3, 3)
local proxies = {}
for p = 1, 2 do proxies[p] = make_proxy(world, p, LIBRARY, conf) end
local function ask(p, line, value, after) proxies[p](line, value, after or function() end, line .. p) end
local function incr(p)
    ask(p, "incr " .. KEY .. " 1", nil, function(text) io.write("told\t", text:match("^%C*"), "\n") end)
end
-- all servers hold these marks, and the proxies see them
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
ask(1, "set " .. KEY .. " 0 0 1", "0\r\n")
world.run(160 + random(40))
local lost = " d1-" .. world.leads[KEY] .. ".0000000"
look(1)
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

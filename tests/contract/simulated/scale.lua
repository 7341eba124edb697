-- Proxies with steady traffic on a cluster where nothing happens: how often each server is asked for the view, on stdout, one
-- line for a server: readings in a second, those of them that came in one packet behind a client's read, connections.
-- Globals: LIBRARY, PROXIES, SERVERS, EVERY (ms between a client's requests), CLIENTS (of a proxy); make_proxy (proxy.lua), random, configuration, new_world (world.lua).
math.randomseed(1)
local WARM <const>, LENGTH <const>, TOGETHER <const> = 2000, 2000, 10 -- ms, ms; proxies that are simulated at a time
local conf = configuration(SERVERS, 3)
local readings, along, links, counts = {}, {}, {}, false
for x = 1, SERVERS do readings[x], along[x], links[x] = 0, 0, 0 end
for _ = 1, PROXIES // TOGETHER do -- they do not affect each other: nobody marks a server
    local world = new_world(SERVERS, TOGETHER)
    for x, server in ipairs(world.servers) do
        local memory = server.memory
        local answer, read_at = memory.answer, nil
        function memory.answer(self, line, value, now)
            if counts and line:find("^mg __mcp:v ") then
                readings[x], along[x] = readings[x] + 1, along[x] + (read_at == now and 1 or 0)
            end
            read_at = line:find("^get ") and now
            return answer(self, line, value, now)
        end
    end
    for p = 1, TOGETHER do
        local ask = make_proxy(world, p, LIBRARY, conf)
        local function step()
            ask("get key" .. random(1000), nil, function() world.at(EVERY - 1 + random(2000) / 1000, step) end, p)
        end
        for _ = 1, CLIENTS do world.at(random(EVERY * 1000) / 1000, step) end
    end
    counts = false
    world.run(WARM)
    counts = true
    world.run(WARM + LENGTH)
    for p = 1, TOGETHER do
        for x = 1, SERVERS do links[x] = links[x] + (world.paths[p][x].link and 1 or 0) end
    end
    collectgarbage()
end
for x = 1, SERVERS do io.write(("server\t%.0f\t%.0f\t%d\n"):format(readings[x] * 1000 / LENGTH, along[x] * 1000 / LENGTH, links[x])) end
error("the storm is over", 0)

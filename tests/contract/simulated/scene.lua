-- What scenes begin with and say.
-- Globals: LIBRARY; make_proxy (proxy.lua), random, configuration, new_world (world.lua). Makes new_scene, tell and far.

-- one line on stdout for what a client was told: what it read, or else the first word
function tell(text) io.write("told\t", text:match("\r\n(%d+)\r\n") or text:match("%S+"), "\n") end

-- packets between proxy p and all of three servers but `leads` take so many ms more
function far(world, p, leads, delay)
    for x = 1, 3 do
        if x ~= leads then world.set(p, x, "clear", delay) end
    end
end

-- servers, proxies, copies (all servers if not said) -> the world, ask(proxy, line, value, after), set(proxy, key, value of one digit, after), meet(key), after
-- which a key has the value 0 and all proxies know the view; that says which server leads the key; and led_by(server), which makes such a key that it leads
function new_scene(servers, proxies, copies)
    local world, conf, asks = new_world(servers, proxies), configuration(servers, copies or servers), {}
    for p = 1, proxies do asks[p] = make_proxy(world, p, LIBRARY, conf) end
    local function ask(p, line, value, after) asks[p](line, value, after or function() end, p) end
    local function set(p, key, value, after) ask(p, "set " .. key .. " 0 0 1", value .. "\r\n", after) end
    local function meet(key)
        set(1, key, 0)
        world.run(160 + random(40))
        for p = 1, proxies do ask(p, "get " .. key) end
        world.run(world.now + 10)
        return world.leads[key]
    end
    local n = 0
    local function led_by(server)
        n = n + 1
        local key = "key" .. n
        set(1, key, 0)
        world.run(world.now + 200)
        return world.leads[key] == server and key or led_by(server)
    end
    return world, ask, set, meet, led_by
end

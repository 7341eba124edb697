-- Virtual time, the network between proxies and servers, and what can go wrong with both.
-- Global: new_server (memcached.lua). Makes random, configuration and new_world. Times in ms. A proxy's TIMEOUT is the library's; a server that is down is tried again after RETRY.
local TIMEOUT, RETRY = LIBRARY:match("M.TIMEOUT=([%d.]+)") * 1000, 1000

-- 0 .. n - 1, of the seed
function random(n) return n > 0 and math.random(0, n - 1) or 0 end

-- what proxies of a coherent cluster are told: one list of servers
function configuration(servers, copies)
    local list = {}
    for x = 1, servers do list[x] = "s" .. x .. ":1" end
    return { epoch = 1, servers = servers, copies = copies, consistency = "coherent", mode = copies > 1 and "replicated" or "sharded", replicas = { list } }
end

function new_world(servers, proxies)
    local world = { now = 0, servers = {}, paths = {}, paused = {}, queue = {}, order = 0, leads = {} }
    local heap = world.queue
    local function less(a, b) return a.at < b.at or a.at == b.at and a.n < b.n end
    local function push(event)
        local i = #heap + 1
        heap[i] = event
        while i > 1 do
            local up = i // 2
            if not less(heap[i], heap[up]) then break end
            heap[i], heap[up] = heap[up], heap[i]
            i = up
        end
    end
    local function pop()
        local top, last = heap[1], table.remove(heap)
        if #heap > 0 then
            heap[1] = last
            local i = 1
            while true do
                local down = 2 * i
                if down > #heap then break end
                if down < #heap and less(heap[down + 1], heap[down]) then down = down + 1 end
                if not less(heap[down], heap[i]) then break end
                heap[i], heap[down] = heap[down], heap[i]
                i = down
            end
        end
        return top
    end
    function world.at(delay, f)
        world.order = world.order + 1
        push({ at = world.now + delay, n = world.order, f = f })
    end
    function world.run(till)
        while heap[1] and heap[1].at <= till do
            local event = pop()
            world.now = math.max(world.now, event.at)
            event.f()
        end
        world.now = till
    end
    function world.skew(number) return (number - 1) * 37 end

    -- what a proxy does waits while it is paused
    function world.resume(proxy, ctx)
        local till = world.paused[proxy] or 0
        if till > world.now then return world.at(till - world.now, function() world.resume(proxy, ctx) end) end
        local ok, err = coroutine.resume(ctx.co)
        if not ok then error("proxy " .. proxy .. ": " .. debug.traceback(ctx.co, err)) end
    end

    -- servers: alive, frozen (answers nothing, keeps what comes), slow (in turns)
    for x = 1, servers do
        world.servers[x] = { memory = new_server(), alive = true, frozen = false, backlog = {}, life = 0 }
    end
    local function path(p, x) return world.paths[p][x] end
    for p = 1, proxies do
        world.paths[p] = {}
        for x = 1, servers do
            world.paths[p][x] = { state = "clear", delay = 0, held = {}, link = nil, bad = 0 }
        end
    end

    local function latency() return 0.05 + random(400) / 1000 end

    -- a link is one TCP connection: `out` outstanding requests in order
    local function fail(link)
        if link.over then return end
        link.over = true
        local way = path(link.p, link.x)
        if way.link == link then way.link = nil end
        local out = link.out
        link.out = {}
        for _, req in ipairs(out) do req.done(nil) end
    end
    local function mark_bad(p, x)
        path(p, x).bad = world.now + RETRY
    end

    local function deliver_reply(link, req, text)
        if link.over then return end
        local way = path(link.p, link.x)
        if way.state == "replieslost" or way.state == "blackhole" then
            way.held[#way.held + 1] = { reply = true, link = link, req = req, text = text }
            return
        end
        local till = world.paused[link.p] or 0
        if till > world.now then return world.at(till - world.now, function() deliver_reply(link, req, text) end) end
        for i, other in ipairs(link.out) do
            if other == req then table.remove(link.out, i) break end
        end
        link.heard = world.now
        req.done(text)
    end
    local function reply(link, req, text)
        local way = path(link.p, link.x)
        local at = math.max(world.now + latency() + way.delay, link.back or 0)
        link.back = at + 0.001
        world.at(at - world.now, function() deliver_reply(link, req, text) end)
    end
    local function execute(server, link, req)
        local key = req.line:match("^ms (%S+)")
        if key then world.leads[key] = world.leads[key] or link.x end -- the server that was the first to store it decides
        local text = server.memory:answer(req.line, req.value, world.now)
        reply(link, req, text)
    end
    local function arrive(link, req)
        local way, server = path(link.p, link.x), world.servers[link.x]
        if link.reset then return end
        if way.state == "requestslost" or way.state == "blackhole" then
            way.held[#way.held + 1] = { link = link, req = req }
        elseif not server.alive or link.life ~= server.life then return
        elseif server.frozen then server.backlog[#server.backlog + 1] = { link = link, req = req }
        else execute(server, link, req) end
    end

    local function connectable(p, x)
        local way, server = path(p, x), world.servers[x]
        if way.state == "cut" or not server.alive then return "refused" end
        if way.state ~= "clear" then return "hangs" end
        return "open"
    end
    -- opens a link; while it hangs, requests queue on it
    local function open(p, x)
        local way = path(p, x)
        local link = { p = p, x = x, out = {}, heard = world.now, life = world.servers[x].life, send_at = 0, wait = {} }
        local how = connectable(p, x)
        if how == "refused" then
            mark_bad(p, x)
            return nil
        end
        way.link, link.connecting = link, how == "hangs"
        if how == "hangs" then
            world.at(TIMEOUT, function()
                if link.over or not link.connecting then return end
                mark_bad(p, x)
                fail(link)
            end)
        end
        return link
    end
    -- what is sent together arrives together
    local function transmit(link, req)
        local way = path(link.p, link.x)
        local batch = world.batch and world.batch[link]
        if batch then
            batch[#batch + 1] = req
            return
        end
        batch = { req }
        if world.batch then world.batch[link] = batch end
        local at = math.max(world.now + latency() + way.delay, link.send_at)
        link.send_at = at + 0.001
        world.at(at - world.now, function() for _, each in ipairs(batch) do arrive(link, each) end end)
    end
    local function watch(link, req)
        world.at(TIMEOUT, function()
            if link.over then return end
            local still = false
            for _, other in ipairs(link.out) do still = still or other == req end
            if not still then return end
            local till = world.paused[link.p] or 0
            if till > world.now then return world.at(till - world.now + 0.5, function()
                if link.over then return end
                for _, other in ipairs(link.out) do if other == req then fail(link) open(link.p, link.x) return end end
            end) end
            fail(link)
            open(link.p, link.x)
        end)
    end
    function world.send(p, x, line, value, done)
        local way = path(p, x)
        local once = false
        local req = { line = line, value = value }
        req.done = function(text)
            if once then return end
            once = true
            done(text)
        end
        if not way.link then
            if way.bad > world.now or not open(p, x) then
                return world.at(0.01, function() req.done(nil) end)
            end
        end
        local link = way.link
        link.out[#link.out + 1] = req
        watch(link, req)
        if link.connecting then link.wait[#link.wait + 1] = req else transmit(link, req) end
    end

    -- Faults. Each returns what undoes it.
    local function reset(p, x)
        local way = path(p, x)
        if way.link then
            way.link.reset = true
            fail(way.link)
        end
    end
    function world.kill(x)
        local server = world.servers[x]
        server.alive, server.life, server.backlog = false, server.life + 1, {}
        for p = 1, proxies do reset(p, x) end
    end
    function world.start(x, memory)
        local server = world.servers[x]
        server.alive, server.frozen = true, false
        if not memory then server.memory = new_server(math.floor(world.now)) end
    end
    function world.freeze(x) world.servers[x].frozen, world.servers[x].dozes = true, false end
    function world.thaw(x)
        local server = world.servers[x]
        if not server.frozen then return end
        server.frozen = false
        local todo = server.backlog
        server.backlog = {}
        -- in order for each connection, the connections in any order
        local groups, names = {}, {}
        for _, each in ipairs(todo) do
            if not groups[each.link] then
                groups[each.link] = {}
                names[#names + 1] = each.link
            end
            table.insert(groups[each.link], each.req)
        end
        while #names > 0 do
            local link = table.remove(names, random(#names) + 1)
            for _, req in ipairs(groups[link]) do if link.life == server.life then execute(server, link, req) end end
        end
    end
    function world.set(p, x, state, delay)
        local way = path(p, x)
        local before = way.state
        way.state, way.delay = state, delay or 0
        if state == "cut" then reset(p, x) end
        if before == "blackhole" and state ~= "blackhole" then
            way.held = {}
            reset(p, x)
        end
        if before ~= state and state == "clear" then
            local held = way.held
            way.held = {}
            for _, each in ipairs(held) do
                if each.reply then deliver_reply(each.link, each.req, each.text) else arrive(each.link, each.req) end
            end
            local link = way.link
            if link and link.connecting and not link.over then -- the handshake's next try
                world.at(random(200), function()
                    if link.over or not link.connecting or connectable(p, x) ~= "open" then return end
                    link.connecting, link.life = false, world.servers[x].life
                    for _, req in ipairs(link.wait) do transmit(link, req) end
                end)
            end
        end
    end
    -- frozen for a moment, unless it is frozen or dead; who freezes it meanwhile thaws it
    function world.doze(x, length)
        local server = world.servers[x]
        if server.frozen or not server.alive then return end
        world.freeze(x)
        server.dozes = true
        world.at(length, function() if server.dozes then world.thaw(x) end end)
    end
    function world.pause(p, length) world.paused[p] = world.now + length end
    return world
end



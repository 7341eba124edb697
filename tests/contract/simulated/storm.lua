-- Eight clients on three texts and two counters through three proxies, and faults meanwhile; the history on stdout, then what happened,
-- then when a copy held what its leader did not, and how often one had nothing.
-- Globals: LIBRARY, SEED, SECONDS, KINDS (comma-separated), COPIES, STAND_INS (after the three servers); make_proxy (proxy.lua), random, configuration, new_world (world.lua).
-- Ends with an error in any case: this is no proxy configuration.
math.randomseed(SEED)
local world = new_world(3 + STAND_INS, 3)
local gutter = STAND_INS > 0 and {} or nil
for i = 1, STAND_INS do gutter[i] = "g" .. i .. ":1" end
local conf = configuration(3, COPIES)
conf.gutter = gutter
local proxies, envs = {}, {}
for p = 1, 3 do proxies[p], envs[p] = make_proxy(world, p, LIBRARY, conf) end

-- clients
local REGISTERS, COUNTERS, GAP = 3, 2, 1000000
local SELDOM = KINDS:find("seldom") -- so that a key is often not written between a server's return and when it is trusted
local PAUSE = KINDS == "" and 0 or 2 -- ms that a client waits at least; without faults all of them overlap all the time
local history = {}
local function key_of(n) return n < REGISTERS and "text" .. n or "count" .. (n - REGISTERS) end
local function parse(call, text)
    local body = text:match("^VALUE %S+ %d+ %d+[^\r]*\r\n(.*)\r\nEND\r\n$")
    if body then return "value", body, text:match("^VALUE %S+ %d+ %d+ (%d+)") or "-" end
    local word = text:match("^[%w_]+")
    if text:match("^%d+\r\n$") then return "number", text:match("^%d+"), "-" end
    if word == "END" or word == "NOT_FOUND" then return "miss", "-", "-" end
    if word == "STORED" or word == "DELETED" or word == "TOUCHED" then return "done", "-", "-" end
    if word == "NOT_STORED" and call ~= "set" then return "notstored", "-", "-" end
    if word == "EXISTS" then return "exists", "-", "-" end
    return "unknown", text:gsub("[\r\n\t]", " "), "-"
end

-- Without faults no copy of a key that nobody is asking for holds what its leader does not: it would be read if that leader died. One that
-- has nothing, as after a write that others overtook too often, costs a miss then, so that is to be rare.
local asking, quiet, lacking, differ = {}, 0, 0, {}
local function answered(key)
    asking[key] = asking[key] - 1
    local leader = world.leads[key]
    if asking[key] > 0 or KINDS ~= "" or not leader then return end
    local held, same = {}, 0
    for x, server in ipairs(world.servers) do
        local item = server.memory.items[key]
        held[x] = item and item.value .. " " .. item.cas or "nothing"
    end
    for _, text in ipairs(held) do
        if text == held[leader] then same = same + 1
        elseif text ~= "nothing" then
            differ[#differ + 1] = ("%.1f ms  %s, led by server %d: %s"):format(world.now, key, leader, table.concat(held, ", "))
        end
    end
    quiet, lacking = quiet + 1, lacking + (same < COPIES and 1 or 0)
end

local function Client(c)
    local self = { ids = {}, written = 0 }
    local p = c % 3 + 1
    local function text() self.written = self.written + 1 return "c" .. c .. "n" .. self.written .. "." end
    local function store(verb, key, value, more) return verb .. " " .. key .. " 0 0 " .. #value .. (more or ""), value .. "\r\n" end
    local function ask(key, call, arg1, arg2, line, value, after)
        local start = world.now
        asking[key] = (asking[key] or 0) + 1
        local record = { start, nil, c, p - 1, key, call, arg1 or "-", arg2 or "-", "unknown", "no answer", "-" }
        proxies[p](line, value, function(answer)
            local kind, a, b = parse(call, answer)
            record[2], record[9], record[10], record[11] = world.now, kind, a, b
            history[#history + 1] = record
            answered(key)
            if kind == "value" and b ~= "-" and #a < 200 then self.ids[key] = b end
            after(kind)
        end, c)
    end
    local function step()
        if world.over then return end
        local n = random(REGISTERS + COUNTERS)
        local key = key_of(n)
        local function pause() world.at(SELDOM and 1000 + random(2000) or PAUSE + random(20) / 10, step) end
        local dice = random(100)
        if n < REGISTERS then
            if self.ids[key] and random(100) < 70 then
                local id, value = self.ids[key], text()
                self.ids[key] = nil
                local line, v = store("cas", key, value, " " .. id)
                return ask(key, "cas", value, id, line, v, pause)
            end
            if dice < 40 then return ask(key, "get", nil, nil, "get " .. key, nil, pause) end
            if dice < 55 then return ask(key, "gets", nil, nil, "gets " .. key, nil, pause) end
            if dice < 82 and dice >= 73 then return ask(key, "delete", nil, nil, "delete " .. key, nil, pause) end
            if dice >= 96 then return ask(key, "touch", nil, nil, "touch " .. key .. " 0", nil, pause) end
            local verb, value = dice < 73 and "set" or dice < 90 and "add" or "append", text()
            local line, v = store(verb, key, value)
            return ask(key, verb, value, nil, line, v, pause)
        end
        local function missing(kind)
            if kind ~= "miss" then return pause() end
            self.written = self.written + 1
            local value = tostring((c * GAP + self.written) * GAP)
            local line, v = store("add", key, value)
            ask(key, "add", value, nil, line, v, pause)
        end
        if dice < 65 then return ask(key, "incr", "1", nil, "incr " .. key .. " 1", nil, missing) end
        if dice < 96 then return ask(key, "get", nil, nil, "get " .. key, nil, missing) end
        if dice < 98 then return ask(key, "touch", nil, nil, "touch " .. key .. " 0", nil, missing) end
        return ask(key, "delete", nil, nil, "delete " .. key, nil, missing)
    end
    world.at(random(50) / 10, step)
end
for c = 0, 7 do Client(c) end

-- the storm
local story = {}
local function each(from, f) for p = 1, 3 do if from == 0 or from == p then f(p) end end end
local stalls, kinds = tonumber(KINDS:match("stalls(%d+)")), {}
for word in KINDS:gmatch("[^,]+") do kinds[#kinds + 1] = word ~= "seldom" and not word:find("stalls") and word or nil end
-- every now and then each proxy and each server stalls for less than `stalls` ms, whatever else happens, as on a busy machine
local function nap(doze)
    if world.over then return end
    doze()
    world.at(50 + random(400), function() nap(doze) end)
end
for x = 1, stalls and 3 or 0 do
    nap(function() world.pause(x, random(stalls)) end)
    nap(function() world.doze(x, random(stalls)) end)
end
local last
local function choose()
    local kind = kinds[random(#kinds) + 1]
    local x, from = random(3) + 1, random(100) < 67 and random(3) + 1 or 0
    if STAND_INS > 0 then -- often the same again: what its stand-in kept from before must not show
        if random(100) < 15 then x = 4 elseif last and random(100) < 50 then x = last end
        last = x < 4 and x or last
    end
    local what = kind .. " server " .. x .. (from > 0 and " for proxy " .. from or "")
    if kind == "kill" then world.kill(x) return what, function() world.start(x) end end
    if kind == "empty" then world.kill(x) world.at(5 + random(30), function() world.start(x) end) return what, function() end end
    if kind == "stale" then world.kill(x) return what, function() world.start(x, true) end end
    if kind == "freeze" then world.freeze(x) return what, function() world.thaw(x) end end
    if kind == "slow" or kind == "starve" then
        local over = false
        local first, last = x, x
        if kind == "starve" then first, last = 1, 3 end
        local function cycle(y)
            if over then return world.thaw(y) end
            world.freeze(y)
            world.at(100, function() world.thaw(y) world.at(5, function() cycle(y) end) end)
        end
        for y = first, last do cycle(y) end
        return what, function() over = true for y = first, last do world.thaw(y) end end
    end
    if kind == "pause" then
        local p = random(3) + 1
        world.pause(p, 20 + random(300))
        return "pause of proxy " .. p, function() end
    end
    local delay = kind == "delay" and 5 + random(60) or 0
    local state = kind == "delay" and "clear" or kind
    each(from, function(p) world.set(p, x, state, delay) end)
    return what .. (delay > 0 and " by " .. delay or ""), function() each(from, function(p) world.set(p, x, "clear") end) end
end
-- a whole copy of each key, or its stand-in, stays: the next fault waits until those before are mended, and who was cut off has connected
-- again
local function marked()
    local dirty = {}
    for p = 1, 3 do
        for name, rec in pairs(envs[p].memcached_proxy.view.servers) do
            dirty[name] = dirty[name] or rec.bad >= 2 or rec.lost and not (STAND_INS > 0 and rec.ready)
        end
        for x = 1, 3 do dirty["1-" .. x] = dirty["1-" .. x] or world.paths[p][x].bad > world.now end
    end
    local n = 0
    for _, is in pairs(dirty) do n = n + (is and 1 or 0) end
    return n
end
local function weather()
    if world.over then return end
    if marked() > COPIES - (STAND_INS > 0 and 1 or 2) then return world.at(20, weather) end
    local what, undo = choose()
    local from = world.now
    local lasts = 200 + random(2300)
    world.at(lasts, function()
        undo()
        story[#story + 1] = ("%8.0f .. %8.0f ms  %s"):format(from, world.now, what)
        world.at(random(STAND_INS > 0 and 4000 or 1000) + (STAND_INS == 0 and COPIES == 2 and 2000 or 0), weather)
    end)
end
-- all servers restarted one after the other, as soon as the one before takes writes
local function roll(x)
    if x > 3 then return end
    if marked() > 0 then return world.at(20, function() roll(x) end) end
    world.kill(x)
    story[#story + 1] = ("%8.0f ms  restart of server %d"):format(world.now, x)
    world.at(20, function() world.start(x) end)
    world.at(1000, function() roll(x + 1) end)
end
if KINDS == "roll" then world.at(300, function() roll(1) end) elseif #kinds > 0 then world.at(300, weather) end
world.run(SECONDS * 1000)
world.over = true
world.run(SECONDS * 1000 + 5000)
for _, op in ipairs(history) do
    op[1], op[2] = ("%.0f"):format(op[1] * 1000), ("%.0f"):format(op[2] * 1000)
    io.write("op\t", table.concat(op, "\t"), "\n")
end
for p = 1, 3 do
    for name, rec in pairs(envs[p].memcached_proxy.view.servers) do
        if rec.bad == 0 then io.write("trusted\tby proxy ", p, ": ", name, "\n") end
    end
end
for x = 1, 3 do
    local view = world.servers[x].memory.items["__mcp:v"]
    for mark in (view and view.value or ""):gmatch(" [dr]%S+") do io.write("mark\ton server ", x, ":", mark, "\n") end
end
for _, line in ipairs(story) do io.write("story\t", line, "\n") end
for _, line in ipairs(differ) do io.write("differ\t", line, "\n") end
io.write("lacking\t", lacking, "\n", "quiet\t", quiet, "\n")
error("the storm is over", 0)

-- Clients that send a write and, right behind it, a read or a removal of the same key, without waiting for an answer in between; with FROZEN,
-- while servers freeze and thaw. What that saw instead of the write on stdout, one line each, then how many there were.
-- Globals: LIBRARY, SEED, SECONDS, COPIES, CONSISTENCY, PAUSE, FROZEN, BEHIND ("get" or "delete"); make_proxy (proxy.lua), random, configuration, new_world (world.lua).
math.randomseed(SEED)
local CLIENTS <const> = 6 -- they start within a ms of each other, each PAUSE ms, when the view has run out
local world = new_world(3, 1)
local conf = configuration(3, COPIES)
conf.consistency = CONSISTENCY
local ask = make_proxy(world, 1, LIBRARY, conf)
local sent = 0

local function Client(c)
    local number, step = 0, nil
    step = function()
        if world.over then return end
        number = number + 1
        local key, value, open = "k" .. c .. number % 3, c .. "." .. number, 2
        local function close()
            open = open - 1
            if open == 0 then
                sent = sent + 1
                world.at(PAUSE - world.now % PAUSE + random(1000) / 1000, step)
            end
        end
        ask(("set %s 0 0 %d"):format(key, #value), value .. "\r\n", close, c)
        local expected = BEHIND == "get" and ("VALUE %s 0 %d\r\n%s\r\nEND\r\n"):format(key, #value, value) or "DELETED\r\n"
        local function follow()
            ask(BEHIND .. " " .. key, nil, function(text)
                if text ~= expected then
                    io.write(("passed\t%.3f ms %s, not %s\n"):format(world.now, (text:gsub("[\r\n]+", " ")), value))
                end
                close()
            end, c)
        end
        if random(2) == 0 then follow() else world.at(random(1000) / 1000, follow) end
    end
    world.at(random(PAUSE), step)
end
for c = 1, CLIENTS do Client(c) end
local function freeze()
    if world.over then return end
    local x = random(3) + 1
    world.freeze(x)
    world.at(600 + random(400), function() world.thaw(x) world.at(3000, freeze) end)
end
if FROZEN then world.at(1000, freeze) end
world.run(SECONDS * 1000)
world.over = true
world.run(SECONDS * 1000 + 2000)
io.write("sent\t", sent, "\n")
error("the storm is over", 0)

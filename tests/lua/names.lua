-- Whom names.lua asks the DNS about, and when, and what it makes of the answers. Time and the DNS are ours.
local now, bad, answers, asked, said = 100, {}, {}, {}, {}
os.time = function() return now end
mcp.server_stats = function() return bad end
function M.say(text) said[#said + 1] = text end
function M.address(server) return server:match("^(.*):(%d+)$") end

-- each name's answer: addresses, "" where there is no such name, nil for silence
io.popen = function(command)
    local host = command:match("getent ahosts '([^']*)'")
    local answer = host == "127.0.0.1" and host or answers[host]
    if host ~= "127.0.0.1" then asked[#asked + 1] = host end
    if not answer then now = now + 2 end
    local lines = {}
    for address in (answer or ""):gmatch("%S+") do
        for _, kind in ipairs({ "STREAM", "DGRAM" }) do lines[#lines + 1] = address .. " " .. kind end
    end
    return { lines = function() return function() return table.remove(lines, 1) end end, close = function() end }
end

local function tick(seconds)
    now, asked = now + seconds, {}
    return M.moved()
end
local function load(...)
    asked = {}
    local find, found = M.finder(), {}
    for i, server in ipairs({ ... }) do found[i] = find(server) end
    return table.concat(found, " ")
end

-- addresses are nobody's question
same(load("10.0.0.1:11211", "fd00::1:11211"), "10.0.0.1 fd00::1", "addresses")
same(#asked, 0, "questions about addresses")

-- IPv4 first, as memcached has it; a reload does not ask again
answers = { a = "fd00::a 10.0.0.1", b = "10.0.0.2", c = "10.0.0.3" }
same(load("a:1", "b:1", "c:1"), "10.0.0.1 10.0.0.2 10.0.0.3", "names")
same(load("a:1", "b:1", "c:1"), "10.0.0.1 10.0.0.2 10.0.0.3", "names at a reload")
same(#asked, 0, "questions at a reload")

-- who is up is asked for once a minute, who is down every second
for _ = 1, 59 do claim(not tick(1) and #asked == 0, "asks for a server that is up") end
claim(not tick(1) and #asked == 3, "does not ask after a minute")
bad = { ["bad_b:1"] = "1" }
claim(not tick(1) and #asked == 1 and asked[1] == "b", "does not ask for the server that is down")
answers.b = "10.0.0.9"
claim(tick(1), "does not see that it moved")
same(load("a:1", "b:1", "c:1"), "10.0.0.1 10.0.0.9 10.0.0.3", "a server that moved")

-- one of several addresses is as good as another
answers.b = "10.0.0.8 10.0.0.9"
claim(not tick(1), "moves among the addresses of one name")

-- no such name: a server that is down is nowhere, one that is up stays
answers.a, answers.b = "", ""
claim(tick(60), "still looks for a name that is gone")
same(load("a:1", "b:1", "c:1"), "10.0.0.1 255.255.255.255 10.0.0.3", "names that are gone")
answers.a, answers.b = "10.0.0.1", "10.0.0.7"
claim(tick(1), "does not see that it is back")
same(load("a:1", "b:1", "c:1"), "10.0.0.1 10.0.0.7 10.0.0.3", "a name that is back")

-- silence moves nobody, is waited for once however many there are, and said once
answers, bad, said = {}, { ["bad_a:1"] = "1", ["bad_b:1"] = "1" }, {}
claim(not tick(1) and #asked == 1, "waits for silence twice")
claim(not tick(1) and #asked == 1, "waits for silence twice")
claim(not tick(1) and #asked == 1, "waits for silence twice")
same(#said, 2, "sayings about two servers: " .. table.concat(said, "; "))
same(load("a:1", "b:1", "c:1"), "10.0.0.1 10.0.0.7 10.0.0.3", "names while the DNS is silent")

-- who was never known is asked for until it is
answers, bad = { d = "" }, {}
same(load("d:1"), "255.255.255.255", "a name that is not there yet")
answers.d = "10.0.0.4"
claim(tick(1), "does not see that it is there")
same(load("d:1"), "10.0.0.4", "a name that came")
tick(60)
same(table.concat(asked, " "), "d", "questions after those that left")

-- memcached cuts off the names of its statistics
local long = ("x"):rep(200)
answers[long] = "10.0.0.5"
load(long .. ":1")
bad = { [("bad_" .. long):sub(1, 126)] = "1" }
claim(not tick(1) and #asked == 1, "does not see that a server with a long name is down")

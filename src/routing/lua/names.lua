-- Where the servers are. memcached asks the DNS on the thread that serves requests and waits for the answer: 5 s and more where
-- none comes, which is what the death of a node with a DNS server on it means. So memcached gets addresses only, and getent asks
-- here, on a thread that nobody waits for: at first, every second while a server is down, every minute while it is not.
-- Configuration VM. Does not say when it is called (reload.lua).
local NOWHERE <const> = "255.255.255.255" -- connecting there fails at once
local AGAIN <const> = 60 -- seconds; a server that died and whose address another took would never seem to be down
local ASK <const> = "RES_OPTIONS='timeout:1 attempts:2' getent ahosts '%s' 2>/dev/null" -- seconds; 5 by default
local SILENCE <const> = 2 -- seconds, of both attempts: sooner it was an answer, that there is no such name
local STAT_SIZE <const> = 126 -- of a line's name in `stats proxybe`; longer ones are cut off

local function is_address(host) return string.find(host, ":", 1, true) or string.find(host, "^[%d.]+$") end

-- its address: `last` if that is one of its addresses still; else the first, IPv4 before IPv6 as memcached prefers; else nil
local function lookup(host, last)
    local pipe = io.popen(string.format(ASK, host)) -- M.address lets no quotation mark through
    if not pipe then return nil end
    local same, v4, v6
    for line in pipe:lines() do
        local address = string.match(line, "^%S+")
        if address == last then same = address
        elseif string.find(address, ":", 1, true) then v6 = v6 or address
        else v4 = v4 or address end
    end
    pipe:close()
    return same or v4 or v6
end

local function have_getent()
    local state = memcached_proxy
    if state.getent == nil then
        state.getent = lookup("127.0.0.1") ~= nil
        if not state.getent then M.say("no getent in this image: memcached asks the DNS itself, and stands still while that is silent") end
    end
    return state.getent
end

-- the last second in which the DNS was silent: nobody else is asked for in it, so that many names take no longer than one
local hushed = 0

-- asks where `server` is; true if it is elsewhere now. Silence moves nobody, and no answer takes away a server that is up.
local function ask(server, known, down)
    local start = os.time()
    if start == hushed then return false end
    local address = lookup(M.address(server), known.address)
    local now = os.time()
    local silent = not address and now - start >= SILENCE
    if silent then hushed = now end
    if silent and not known.silent then M.say("the DNS is silent about " .. server .. "; it stays " .. (known.address or "unknown")) end
    known.asked, known.silent = now, silent
    if silent or address == known.address or not address and not down then return false end
    if known.address or known.lost then
        M.say(server .. " is at " .. (address or "no address") .. ", was at " .. (known.address or "none"))
    end
    known.address, known.lost = address, not address
    return true
end

-- for a new configuration: a function from a server to what memcached is to connect to
function M.finder()
    local state = memcached_proxy
    local before, where = state.where or {}, {} -- server -> { address, asked, silent, lost }
    state.where = where
    return function(server)
        local host = M.address(server)
        if is_address(host) or not have_getent() then return host end
        local known = before[server]
        if not known then
            known = { asked = 0 }
            ask(server, known, true)
        end
        where[server] = known
        return known.address or NOWHERE
    end
end

-- once a second: true if a server is to be found elsewhere
function M.moved()
    local bad, where, due, moved = mcp.server_stats("proxybe"), memcached_proxy.where, {}, false
    local function down(server) return not where[server].address or bad[string.sub("bad_" .. server, 1, STAT_SIZE)] ~= nil end
    for server, known in pairs(where) do
        if down(server) or os.time() - known.asked >= AGAIN then due[#due + 1] = server end
    end
    table.sort(due, function(a, b) return where[a].asked < where[b].asked end)
    for _, server in ipairs(due) do moved = ask(server, where[server], down(server)) or moved end
    return moved
end

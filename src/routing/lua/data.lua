-- Reads and checks the configuration: one Lua table constructor, data only. Configuration VM.
-- Does not say where the text comes from (reload.lua) nor what is made of it (main.lua).
-- Format 1 has no `servers`: all that are listed count. Format 3 may have a `gutter`.
local OLDEST <const>, NEWEST <const> = 1, 3

-- true if the text is comments, one table constructor, and nothing that could run: no parenthesis, no operator
local function only_data(text)
    local at, size = 1, #text
    while at <= size do
        -- a comment of one line: `--[[` would end where its brackets do, and what follows would run
        local to = select(2, string.find(text, "^%-%-[^%[\n][^\n]*", at)) or select(2, string.find(text, "^%-%-\n", at))
            or select(2, string.find(text, '^"[^"\\\n]*"', at))
            or select(2, string.find(text, "^[%w_%s{}=,;]+", at)) or select(2, string.find(text, "^%-%f[%d]", at))
        if not to then return false, string.sub(text, at, at) end
        at = to + 1
    end
    return true
end

local function fail(field, problem) error("field " .. field .. ": " .. problem, 0) end

local function shown(value) return type(value) == "string" and '"' .. value .. '"' or tostring(value) end

local function integer(field, value, low, high)
    if math.type(value) ~= "integer" or value < low or value > high then
        fail(field, shown(value) .. " is not a whole number from " .. low .. " to " .. high)
    end
end

local function one_of(field, value, ...)
    for _, known in ipairs({ ... }) do if value == known then return end end
    fail(field, shown(value) .. " is none of " .. table.concat({ ... }, ", "))
end

-- "host:port" or "[IPv6]:port" -> host, port (as strings); nil if it is neither
function M.address(server)
    local host, port = string.match(server, "^([%w%.%-_]+):(%d+)$")
    if not host then host, port = string.match(server, "^%[([%x:]+)%]:(%d+)$") end
    local number = math.tointeger(tonumber(port))
    if host and #host < 255 and #port < 6 and number > 0 and number < 65536 then return host, port end
end

local function server(field, value)
    if type(value) ~= "string" or not M.address(value) then fail(field, shown(value) .. " is not host:port") end
end

-- a list without holes or other keys, at least one long
local function list(field, value)
    if type(value) ~= "table" or #value == 0 then fail(field, shown(value) .. " is not a list of at least one") end
    local count = 0
    for _ in pairs(value) do count = count + 1 end
    if count ~= #value then fail(field, "has keys that are not 1 to " .. #value) end
end

-- a list of servers, none of which is in `seen` yet
local function each_once(what, servers, seen)
    list(what, servers)
    for i, name in ipairs(servers) do
        local field = what .. "[" .. i .. "]"
        server(field, name)
        if seen[name] then fail(field, shown(name) .. " is already " .. seen[name]) end
        seen[name] = field
    end
end

local CHECKS = {
    format = function() end, -- looked at first of all
    mode = function(_, v) one_of("mode", v, "replicated", "failover", "sharded") end,
    cluster = function(_, v) if type(v) ~= "string" or v == "" then fail("cluster", shown(v) .. " is not a name") end end,
    epoch = function(_, v) integer("epoch", v, 0, math.maxinteger) end,
    consistency = function(_, v) one_of("consistency", v, "coherent", "fastest") end,
    replicas = function(_, v, seen)
        list("replicas", v)
        for r, servers in ipairs(v) do each_once("replicas[" .. r .. "]", servers, seen) end
    end,
    gutter = function(conf, v, seen)
        if v == nil then return end
        if conf.format < 3 then fail("gutter", "unknown in format " .. conf.format) end
        if conf.consistency ~= "coherent" then fail("gutter", "belongs to consistency coherent only") end
        each_once("gutter", v, seen)
    end,
    copies_by = function(conf, v)
        if conf.format > 1 then one_of("copies_by", v, "cluster", "mode")
        elseif v ~= nil then fail("copies_by", "unknown in format 1") end
    end,
    servers = function(conf, v)
        if conf.format == 1 then
            if v ~= nil then fail("servers", "unknown in format 1") end
            conf.servers = #conf.replicas[1]
            return
        end
        local most = math.maxinteger
        for _, servers in ipairs(conf.replicas) do most = math.min(most, #servers) end
        integer("servers", v, 1, most)
    end,
    copies = function(conf, v)
        if #conf.replicas > 1 then integer("copies", v, #conf.replicas, #conf.replicas)
        else integer("copies", v, 1, conf.mode == "sharded" and 1 or conf.servers) end
    end,
    local_cache = function(conf, v)
        if conf.mode ~= "failover" then
            if v ~= nil then fail("local_cache", "belongs to mode failover only") end
            return
        end
        if type(v) ~= "table" then fail("local_cache", shown(v) .. " is not a table; mode failover needs one") end
        if v.server ~= "internal" then server("local_cache.server", v.server) end
        integer("local_cache.ttl", v.ttl, 1, 2592000) -- memcached takes more than 30 days for a date
        for name in pairs(v) do if name ~= "server" and name ~= "ttl" then fail("local_cache." .. tostring(name), "unknown") end end
    end,
}
-- one reads those before it, so the order counts
local FIELDS = { "format", "mode", "cluster", "epoch", "consistency", "replicas", "servers", "copies", "copies_by", "gutter", "local_cache" }

local function check(conf, ...)
    if type(conf) ~= "table" or select("#", ...) > 0 then error("is not one table constructor", 0) end
    if math.type(conf.format) ~= "integer" or conf.format < OLDEST or conf.format > NEWEST then
        fail("format", shown(conf.format) .. " is none of " .. OLDEST .. " to " .. NEWEST .. ", which this library reads")
    end
    local seen = {} -- servers, by where they stand
    for _, name in ipairs(FIELDS) do CHECKS[name](conf, conf[name], seen) end
    for name in pairs(conf) do if not CHECKS[name] then fail(tostring(name), "unknown in format " .. conf.format) end end
    return conf
end

-- the text of config.lua -> the checked table, or nil and why not. Configuration VM.
function M.read(text)
    local plain, char = only_data(text)
    if not plain then return nil, "is not data only: it has a " .. shown(char) end
    local chunk, err = load("return " .. text, "@config", "t", {})
    if not chunk then return nil, err end
    local ok, conf = pcall(function() return check(chunk()) end)
    if ok then return conf end
    return nil, conf
end

-- Live reload: which text is in force, when to look again, what to say about it. Configuration VM, but where it says so.
-- A text that is not good is refused with one line on stderr and the last good one stays; only a proxy that never had
-- a good one exits. Content is compared, not dates: a kubelet swaps the whole folder under the file.
local EVERY <const> = 1 -- seconds; memcached's cron knows whole ones only
local state = memcached_proxy

local function slurp(path)
    local file, err = io.open(path, "r")
    if not file then return nil, err end
    local text
    text, err = file:read("a")
    file:close()
    return text, err
end

function M.say(text) io.stderr:write("memcached-proxy: " .. text .. "\n") end -- one write, so one line

local function refuse(path, why) M.say("refused " .. path .. ": " .. tostring(why) .. "; still serving epoch " .. state.epoch) end

local function describe(conf)
    local servers = 0
    for _, list in ipairs(conf.replicas) do servers = servers + #list end
    return string.format("%s on %s, epoch %d, servers %d, copies %d, %s%s", conf.mode, conf.cluster, conf.epoch, servers,
        conf.copies, conf.consistency, conf.gutter and ", stand-ins " .. #conf.gutter or "")
end

-- `make` turns the checked data into what the workers get; it may fail too. Configuration VM.
local function attempt(text, make)
    local conf, err = M.read(text)
    if not conf then return nil, err end
    local ok, made = pcall(make, conf)
    if not ok then return nil, made end
    return made, conf
end

-- looks once a second, and asks for a reload when the file holds another text, whether that is good is found out there, or when
-- a server has moved
local function watch(path)
    local text, err = slurp(path)
    local changed = (text or err) ~= state.seen
    state.seen = text or err
    if M.moved() or changed and text ~= state.good then mcp.schedule_config_reload() end
end

-- The number of refused texts in `stats proxy`: user_config_refused. memcached's own proxy_config_reload_fails stays 0, because
-- an error of ours at a reload ends the process.
local REFUSED <const> = 1

-- at a reload: counts a refused text. Worker VM; each worker counts, and a proxy in a pod has one.
function M.count(made)
    if made.refused then mcp.stat(REFUSED, made.refused) end
end

-- what the workers are to get, from the file or from the last good text. Runs at start, at every reload and at SIGHUP.
function M.load(path, make)
    if not mcp.add_stat then error(M.TOO_OLD, 0) end
    mcp.add_stat(REFUSED, "config_refused")
    local text, err = slurp(path)
    local made, conf
    if text then
        made, conf = attempt(text, make)
        if not made then err = conf end
    end
    if made then
        state.good, state.epoch = text, conf.epoch
        M.say("loaded " .. path .. ": " .. describe(conf))
    elseif state.good then
        refuse(path, err)
        made, err = attempt(state.good, make)
        if not made then error(err, 0) end
        made.refused = 1
    else
        error("memcached-proxy: refused " .. path .. ": " .. tostring(err) .. "; nothing to serve, so not starting", 0)
    end
    state.seen = text or err
    mcp.register_cron("memcached-proxy", { every = EVERY, func = function() watch(path) end })
    return made
end

-- The two functions that memcached calls. Configuration in, routes out.
local state = memcached_proxy
local BALLAST <const> = 512 * 1024 -- bytes

-- seconds and counts; read again at every reload. Equal settings and labels keep a server's connections over a reload.
local function settings()
    mcp.backend_connect_timeout(M.TIMEOUT)
    mcp.backend_read_timeout(M.TIMEOUT)
    mcp.backend_retry_waittime(1) -- less than 1 spins
    mcp.backend_failure_limit(1) -- 0 would call a server down because of one client's bad request, which resets its connection
    mcp.tcp_keepalive(true)
    -- How far Lua's memory may grow before garbage is collected. 2 by default; what requests in flight hold is most of it, and would be
    -- held twice. Below 1.3 memcached now and then collects without end.
    mcp.luagc_ratio(1.3)
end

local function pool(server, find)
    local _, port = M.address(server)
    return mcp.pool({ mcp.backend({ label = server, host = find(server), port = port }) })
end

-- checked data -> the same with a pool for every server, numbered as order.lua does, and then every stand-in. Configuration VM.
local function pools(conf)
    settings()
    local find, made, near = M.finder(), {}, nil
    for _, servers in ipairs(conf.replicas) do
        for _, server in ipairs(servers) do made[#made + 1] = pool(server, find) end
    end
    for _, server in ipairs(conf.gutter or {}) do made[#made + 1] = pool(server, find) end
    if conf.local_cache and conf.local_cache.server ~= "internal" then near = pool(conf.local_cache.server, find) end
    return { conf = conf, pools = made, near = near }
end

-- Configuration VM, at start and at every reload.
function mcp_config_pools() return M.load(mcp.start_arg, pools) end

-- Worker VM, at start and at every reload.
function mcp_config_routes(made)
    M.count(made)
    local conf = made.conf
    local commands = conf.consistency == "fastest" and M.fastest or M.coherent
    local near = conf.mode == "failover" and M.failover(made.near or mcp.internal_handler, conf.local_cache.ttl)
    local view = M.view(conf)
    -- How soon garbage is collected goes by how much is held. That is little where few requests are in flight, so an eighth of the
    -- processor time would go into looking through all that is held again and again; this is much to hold and nothing to look through.
    state.ballast = state.ballast or string.rep(" ", BALLAST)
    -- first the one that says so if memcached is too old, of which the other wants more
    local reads = M.copies(made.pools, commands, conf.mode .. " reads", view, near, true)
    mcp.attach(mcp.CMD_ANY_STORAGE, M.copies(made.pools, commands, conf.mode, view, near, false))
    for _, cmd in ipairs({ mcp.CMD_GET, mcp.CMD_GETS, mcp.CMD_ME, mcp.CMD_MG }) do mcp.attach(cmd, reads) end
end

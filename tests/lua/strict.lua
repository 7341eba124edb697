-- Put in front of the library: any global that it makes or reads beyond its own three is an error. Both VMs.
local OWN = { memcached_proxy = true, mcp_config_pools = true, mcp_config_routes = true }
setmetatable(_G, {
    __newindex = function(all, name, value)
        if not OWN[name] then error("leaks the global " .. name, 2) end
        rawset(all, name, value)
    end,
    __index = function(_, name)
        if not OWN[name] then error("reads the unknown global " .. name, 2) end
    end,
})

-- failover: a small cache in the pod (NEAR) in front of the cluster (FAR, the commands of coherent.lua or fastest.lua).
-- Served from near: get, and mg that asks for no more than v f s k b q O. All else goes far; what changes or touches a
-- key takes it out of near. A dead near cache costs hits, never an error. Worker VM.
--
-- A local copy may be older than the cluster's, by other clients' writes; never by more than the local ttl, because
-- nothing extends its life. Own writes are seen at once.
local match, find = string.match, string.find

local function near_can(r, cmd)
    if cmd == mcp.CMD_GET then return true end
    return cmd == mcp.CMD_MG and not find(match(r:raw_line(), "^%S+ +%S+(.*)"), " [^vfskbqO ]")
end

local function value_in(res) return res:ok() and res:code() == mcp.MCMC_CODE_OK end

-- the long way: one request may ask several times
local function far(t, r) return t:route(r, r:command(), r:key(), M.class(r, r:command())) end

-- asks far for the item with its lifetime, puts it into near, and answers from there in the client's own form.
-- `add` with the far item's cas id, then a second look at far: if that id is gone, a write has passed us and ours goes.
local function fill(t, r, ttl)
    local rctx, near, key, b = t.rctx, t.near, r:key(), r:has_flag("b") and " b" or ""
    local res = far(t, M.request("mg " .. key .. b .. " v f t c"))
    if not res:ok() or not res:hit() then return M.miss(t, r) end
    local item = M.item(res)
    local back = M.give_back(res, key, b)
    if back then far(t, back) end
    if not item then return far(t, r) end
    local left = tonumber(item.ttl)
    rctx:enqueue_and_wait(M.place_item(key, b, item, " ME", (left < 0 or left > ttl) and ttl or left), near.put)
    t:queue(r, near.again)
    local now = far(t, M.ask_id(key, b))
    t:wait()
    local again = rctx:result(near.again)
    if M.id_of(now) ~= item.id then
        rctx:enqueue_and_wait(M.remove_id(key, b, item.id), near.drop)
    elseif value_in(again) then
        return again
    end
    return far(t, r)
end

-- what changes a key takes it out of near twice: before, so that a read sent behind it does not find the old value, and
-- after, for a fill that passed the write
local function change(t, r, usual)
    local gone = M.remove_key(r:key(), r:has_flag("b") and " b" or "")
    t:queue(gone, t.near.drop)
    local res = t:forward(r, usual)
    t:queue(gone, t.near.last)
    t:wait()
    return res
end

-- near: a pool, or mcp.internal_handler (the proxy's own memory); ttl: seconds -> what stands in front of a route (copies.lua)
function M.failover(near, ttl)
    return {
        open = function(fgen)
            local t = {}
            for _, use in ipairs({ "cmd", "put", "again", "drop", "last" }) do t[use] = fgen:new_handle(near) end
            return t
        end,
        answer = function(t, r, usual)
            local cmd = r:command()
            local res = near_can(r, cmd) and t.rctx:enqueue_and_wait(r, t.near.cmd)
            if res and value_in(res) then return res end
            t.client = r
            if M.class(r, cmd) ~= M.READ then return change(t, r, usual) end
            t:begin()
            if res and res:code() == mcp.MCMC_CODE_END then return fill(t, r, ttl) end -- a miss, nothing wrong with the request
            return far(t, r)
        end,
    }
end

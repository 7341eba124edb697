-- failover: a small cache in the pod (NEAR) in front of the cluster (FAR, a route of coherent.lua or fastest.lua).
-- Served from near: get, and mg that asks for no more than v f s k b q O. All else goes far; what changes or touches a
-- key takes it out of near. A dead near cache costs hits, never an error. Worker VM.
--
-- A local copy may be older than the cluster's, by other clients' writes; never by more than the local ttl, because
-- nothing extends its life. Own writes are seen at once.
local ANY = mcp.WAIT_ANY
local match, find = string.match, string.find

local function near_can(r, cmd)
    if cmd == mcp.CMD_GET then return true end
    return cmd == mcp.CMD_MG and not find(match(r:raw_line(), "^%S+ +%S+(.*)"), " [^vfskbqO ]")
end

local function value_in(res) return res:ok() and res:code() == mcp.MCMC_CODE_OK end

-- asks far for the item with its lifetime, puts it into near, and answers from there in the client's own form.
-- `add` with the far item's cas id, then a second look at far: if that id is gone, a write has passed us and ours goes.
local function fill(t, r, ttl)
    local rctx, key, b = t.rctx, r:key(), r:has_flag("b") and " b" or ""
    local res = rctx:enqueue_and_wait(M.request("mg " .. key .. b .. " v f t c"), t.far.fetch)
    if type(res) == "string" or not res:ok() or not res:hit() then return M.miss(t, r) end
    local item = M.item(res)
    local back = M.give_back(res, key, b)
    if back then rctx:enqueue_and_wait(back, t.far.back) end
    if not item then return rctx:enqueue_and_wait(r, t.far.cmd) end
    local left = tonumber(item.ttl)
    rctx:enqueue_and_wait(M.place_item(key, b, item, " ME", (left < 0 or left > ttl) and ttl or left), t.near.put)
    rctx:enqueue(M.ask_id(key, b), t.far.check)
    rctx:enqueue(r, t.near.again)
    rctx:wait_cond(2, ANY)
    local now, again = rctx:result(t.far.check), rctx:result(t.near.again)
    if type(now) == "string" or M.id_of(now) ~= item.id then
        rctx:enqueue_and_wait(M.remove_id(key, b, item.id), t.near.drop)
    elseif value_in(again) then
        return again
    end
    return rctx:enqueue_and_wait(r, t.far.cmd)
end

-- what changes a key takes it out of near twice: before, so that a read sent behind it does not find the old value, and
-- after, for a fill that passed the write
local function change(t, r)
    local rctx, gone = t.rctx, M.remove_key(r:key(), r:has_flag("b") and " b" or "")
    rctx:enqueue(gone, t.near.drop)
    local res = rctx:enqueue_and_wait(r, t.far.cmd)
    rctx:enqueue_and_wait(gone, t.near.last)
    return res
end

local function answer(t, r, ttl)
    local cmd = r:command()
    if near_can(r, cmd) then
        local res = t.rctx:enqueue_and_wait(r, t.near.cmd)
        if value_in(res) then return res end
        if res:code() == mcp.MCMC_CODE_END then return fill(t, r, ttl) end -- a miss, nothing wrong with the request
    elseif M.class(r, cmd) ~= M.READ then
        return change(t, r)
    end
    return t.rctx:enqueue_and_wait(r, t.far.cmd)
end

-- near: a pool, or mcp.internal_handler (the proxy's own memory); far: a route; ttl: seconds. Called once a reload.
function M.failover(near, far, ttl)
    local fgen = mcp.funcgen_new()
    local t = { near = {}, far = {}, replies = M.replies() }
    for _, role in ipairs({ "cmd", "put", "again", "drop", "last" }) do t.near[role] = fgen:new_handle(near) end
    for _, role in ipairs({ "cmd", "fetch", "back", "check" }) do t.far[role] = fgen:new_handle(far) end
    fgen:ready({ n = "failover", u = 1, f = function(rctx)
        local mine = setmetatable({ rctx = rctx, out = rctx:response_new() }, { __index = t })
        return function(r)
            mine.said = false
            return answer(mine, r, ttl)
        end
    end })
    return fgen
end

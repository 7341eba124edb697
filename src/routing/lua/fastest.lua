-- replicated, fastest: reads ask all copies and take the first hit; writes go to all copies at once. Decisions (add, cas,
-- incr, ...) and lifetimes are those of coherent.lua. Weaker than coherent: two clients may see two values for a moment,
-- and concurrent writers may leave different ones. A read does not put back what a copy has lost. Worker VM.
local GOOD = mcp.WAIT_GOOD

-- a miss never wins over a hit, an error never over a miss
local function read(t, r, cmd, key, list)
    if #list == 1 then return M.coherent[M.READ](t, r, cmd, key, list) end
    local rctx, tickets, miss = t.rctx, {}, nil
    for i = 1, #list do tickets[i] = t:send(r, list[i]) end
    if t.memory.steady and not t.near then
        t.queued, t.spent = 0, true
        rctx:wait_cond(1, GOOD)
    else -- it may have to look elsewhere too, or is not the request's last
        t:wait()
    end
    for i = 1, #list do
        local res, kind = rctx:result(tickets[i])
        if kind == mcp.RES_GOOD then return res end
    end
    for i = 1, #list do
        local x = list[i]
        local res, kind = rctx:result(tickets[i])
        if kind ~= mcp.RES_OK and res and not res:raw_string() then res = t:retry(r, x, tickets[i]) end -- it may have the hit
        if res and res:hit() then return res end
        if res and (res:ok() or res:code() == mcp.MCMC_CODE_CLIENT_ERROR) then miss = miss or res end
    end
    return miss or M.miss(t, r)
end

local function store(t, r, cmd, key, list)
    if #list == 1 then return M.coherent[M.STORE](t, r, cmd, key, list) end
    local q, _, form = M.translate(r, cmd, r:key())
    return M.best(t, r, cmd, t:all(q, list), list, form)
end

-- on all at once: a read asks them all
local function remove(t, r, cmd, key, list) return M.best(t, r, cmd, t:all(r, list), list) end

M.fastest = {
    [M.READ] = read, [M.TOUCH] = M.coherent[M.TOUCH], [M.STORE] = store, [M.REMOVE] = remove,
    [M.UPDATE] = M.coherent[M.UPDATE],
}

-- replicated, coherent, first version: the first server of a key's order that answers is its AUTHORITY; every read and
-- every decision is made there, so a healthy cluster answers like one memcached whoever asks. The others hold copies with
-- the same cas id for the day it dies. With one copy a key it is the sharded mode: nothing but the first step runs.
-- Worker VM. Does not choose the servers (order.lua) nor talk to them (copies.lua).
--
-- Not promised yet, because no server is marked dirty: a server that was frozen or cut off while it missed a write comes
-- back with its old value and is believed. And in every version: flush_all, verbosity, cache_memlimit, shutdown and
-- unknown commands have no key, so the proxy closes the connection on them.
local function b_flag(r) return r:has_flag("b") and " b" or "" end

local function missed(res)
    local code = res:code()
    return res:ok() and (code == mcp.MCMC_CODE_NOT_FOUND or code == mcp.MCMC_CODE_END or code == mcp.MCMC_CODE_NOT_STORED)
end

local function wrong_request(res) return res:code() == mcp.MCMC_CODE_CLIENT_ERROR end

local function read(t, r, cmd, key, list)
    for i = 1, #list do
        local p = list[i]
        local res = t:ask(r, p, "cmd")
        if res and res:ok() then
            if res:hit() or #list == 1 or cmd == mcp.CMD_ME then return res end
            local there, x = t:restore(key, b_flag(r), p, list)
            local again = there and t:ask(r, p, "again")
            if x and not (again and again:hit()) then again = t:ask(r, x, "again") end -- p could not take it
            return again and again:ok() and again or res
        elseif res and wrong_request(res) then
            return res
        end
    end
    return M.miss(t, r) -- an error line inside a multiget would break the client
end

local function touch(t, r, cmd, key, list)
    local b, several, creates = b_flag(r), #list > 1, false
    local q, id, res, p = r, nil, nil, nil
    if cmd == mcp.CMD_MG then
        q, id = M.translate(r, cmd)
        creates = several and M.creates(r, cmd)
    end
    if creates then res, p = t:create(q, list, key, b, id) else res, p = t:first(q, list) end
    if not res or M.reads(cmd) and not res:ok() and not wrong_request(res) then return M.unreachable(t, r, cmd) end
    if several and not creates and missed(res) and t:restore(key, b, p, list) then res = t:ask(q, p, "again") or res end
    local seconds = several and res:ok() and not missed(res) and M.lifetime(r, cmd)
    if seconds then t:all(M.request("mg " .. key .. b .. " T" .. seconds), "copy", list, p) end
    return M.answer(t, r, res)
end

local function store(t, r, cmd, key, list)
    local q, id, form = r, nil, nil
    if #list > 1 then q, id, form = M.translate(r, cmd) end -- one copy needs no id of ours
    local res, p = t:first(q, list)
    if not res then return M.unreachable(t, r, cmd) end
    if #list > 1 then
        local b = b_flag(r)
        if res:ok() then
            t:all(q, "copy", list, p)
            if id then t:confirm(key, b, p, list, id, "drop") end
        elseif not wrong_request(res) then -- too large or out of memory: memcached removed the old item
            t:all(M.remove_key(key, b), "drop", list, p)
        end
    end
    return M.answer(t, r, res, form)
end

local function remove(t, r, cmd, key, list)
    local answers = #list > 1 and t:erase(r, key, b_flag(r), list) or t:all(r, "cmd", list)
    return M.best(t, r, cmd, answers, list)
end

local function update(t, r, cmd, key, list)
    local b, several = b_flag(r), #list > 1
    local creates = several and M.creates(r, cmd)
    local q, id, form = M.translate(r, cmd)
    local res, p, done
    if creates then res, p, done = t:create(q, list, key, b, id) else res, p, done = t:once(q, list, key, b, id) end
    if not res then return M.unreachable(t, r, cmd) end
    if several and not creates and not done and missed(res) and t:restore(key, b, p, list) then
        res = t:ask(q, p, "again") or res
    end
    if several and (res:ok() and not missed(res) and res:code() ~= mcp.MCMC_CODE_EXISTS or res:code() == mcp.MCMC_CODE_SERVER_ERROR) then
        t:publish(key, b, p, list, res:ok() and cmd ~= mcp.CMD_MD and not r:has_flag("I"))
    end
    if done then return M.done(t, r, res, form, id) end
    return M.answer(t, r, res, form)
end

M.coherent = { [M.READ] = read, [M.TOUCH] = touch, [M.STORE] = store, [M.REMOVE] = remove, [M.UPDATE] = update }

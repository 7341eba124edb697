-- replicated, coherent: what each class of commands does. Every read and every decision is made at the key's authority,
-- the first server of its order that is trusted, so the cluster answers like one memcached whoever asks; the others hold
-- copies with the same cas id. docs/coherence.md has the protocol. With one copy a key it is the sharded mode: nothing but
-- the first step runs. Worker VM. Does not choose servers (lease.lua) nor talk to them (copies.lua, version.lua).
--
-- In every version: flush_all, verbosity, cache_memlimit, shutdown and unknown commands have no key, so the proxy closes
-- the connection on them.
local mono = mcp.time_mono_millis

local function b_flag(r) return r:has_flag("b") and " b" or "" end

local function missed(res)
    local code = res:code()
    return res:ok() and (code == mcp.MCMC_CODE_NOT_FOUND or code == mcp.MCMC_CODE_END or code == mcp.MCMC_CODE_NOT_STORED)
end

local function wrong_request(res) return res:code() == mcp.MCMC_CODE_CLIENT_ERROR end

-- p, the authority, misses: a copy may have what p lost. It is put back, or, where it can't be, read where it is.
local function elsewhere(t, r, key, p, list)
    local source = t:restore(key, b_flag(r), p, list)
    if not source then return nil end
    local res = t:ask(r, p)
    if not (res and res:ok() and res:hit()) then res = t:ask(r, source) end
    return res and res:ok() and res or nil
end

local function read(t, r, cmd, key, list)
    while true do
        local p = t:lead(list)
        if not p then return M.unreachable(t, r, cmd) end -- a miss: an error line inside a multiget would break the client
        local copied = #list > 1 and cmd ~= mcp.CMD_ME
        local looks = copied and t.V and t:sample(key, r, p, list)
        local res = t:hear(r, p)
        if res and res:ok() then
            if not copied then return res end
            if not res:hit() then return elsewhere(t, r, key, p, list) or res end
            if looks then t:sampled(key, b_flag(r), looks) end
            return res
        elseif res and wrong_request(res) then
            return res
        end
        t.dead[p], t.hurt = true, true
    end
end

-- Most of what is asked: a read while the view is fresh, nobody is marked, no ring is changing, and there is nothing to do beside
-- it. That costs one server's answer and nothing else. known: of M.view, and H -> function(rctx, r, key) -> a hit; else nil, and
-- who said something else, if anybody was asked: the long way goes on with that.
local function usual(known)
    local V, orders, H = known.memory, known.orders, known.H
    return function(rctx, r, key)
        if not (V.calm and V.steady) or V.tends > 0 or V.kept then return end
        local now = mono()
        if now >= V.early and (now >= V.valid or V.due ~= V.valid) then
            V.due = V.valid -- this one reads the view when it is done, the others need not
            return
        end
        local list = orders[V.ring.place](key)
        if list.unknown or #list > 1 and V.reads + 1 >= V.every then return end -- one that looks at the other copies too
        V.reads = V.reads + 1
        local x = list[1]
        local res = rctx:enqueue_and_wait(r, H[x][1])
        return res:hit() and res, x
    end
end

local function touch(t, r, cmd, key, list)
    local b, q, id = b_flag(r), r, nil
    if cmd == mcp.CMD_MG then q, id = M.translate(r, cmd) end
    if id and #list > 1 and M.creates(r, cmd) then return M.decided(t, r, cmd, key, list, q, id) end
    local res, p = t:first(q, list)
    if not res or M.reads(cmd) and not res:ok() and not wrong_request(res) then return M.unreachable(t, r, cmd) end
    if #list == 1 then return M.answer(t, r, res) end
    if missed(res) and t:restore(key, b, p, list) then res = t:ask(q, p) or res end
    local seconds = res:ok() and not missed(res) and M.lifetime(r, cmd)
    if seconds then t:all(M.request("mg " .. key .. b .. " T" .. seconds), list, p, key, b) end
    return M.answer(t, r, res)
end

-- one copy: no id of ours, no other server
local function store_alone(t, r, cmd, list)
    local res = t:first(r, list)
    if not res then return M.unreachable(t, r, cmd) end
    return M.answer(t, r, res)
end

local function store(t, r, cmd, key, list)
    if #list == 1 then return store_alone(t, r, cmd, list) end
    local b = b_flag(r)
    while true do
        local q, id, form, make = M.translate(r, cmd)
        local did, unknown = t:decide(q, list, key, b, { id = id })
        if unknown then return M.unknown(t, r) end
        if not did then return M.unreachable(t, r, cmd) end
        local res, p = did.res, did.p
        if res:ok() and id then
            local seen = did.seen[p]
            local old = seen and seen:ok() and (M.id_of(seen) or false)
            if t:spread(key, b, p, list, id, old, make) then return M.answer(t, r, res, form) end
        else -- too large or out of memory: memcached removed the old item. Without an id: the copies must not differ.
            if not wrong_request(res) then t:all(M.remove_key(key, b), list, p, key, b) end
            return M.answer(t, r, res, form)
        end
    end
end

local function remove(t, r, cmd, key, list)
    if #list == 1 then return M.best(t, r, cmd, t:all(r, list), list) end
    local b = b_flag(r)
    local did, unknown = t:decide(r, list, key, b, {})
    if unknown then return M.unknown(t, r) end
    if not did then return M.unreachable(t, r, cmd) end
    local found = t:erase(key, b, did.p, list, did.seen)
    local lost = found and cmd == mcp.CMD_DELETE and did.res:code() == mcp.MCMC_CODE_NOT_FOUND
    if lost and not M.silent(r) and (not t.V or t:hollow(did.p)) then return "DELETED\r\n" end
    return M.answer(t, r, did.res)
end

-- the authority has changed the item in a way that only it knows
local function publish(t, key, b, did, list, old)
    local item = did.fresh
    if not item then
        local res = t:ask(M.ask_item(key, b), did.p)
        t:give_back(res, did.p, key, b)
        item = M.item(res)
    end
    if item then -- its id may be another than ours: somebody wrote after us, or a number that gained a digit (1.6.45)
        return t:spread(key, b, did.p, list, item.id, old, function(condition) return M.place_item(key, b, item, condition) end)
    end
    t:all(M.remove_key(key, b), list, did.p, key, b)
    return true
end

-- the authority may have lost what the copies have: then undo what was made instead, put the item back, decide again
local function revive(t, q, did, list, key, b, id, creates)
    local res = did.res
    if not res:ok() or did.done or did.seen[did.p] and did.seen[did.p]:hit() then return end
    local made = creates and not missed(res)
    if not made and not missed(res) or not (made or not creates) then return end
    if creates then
        local elsewhere_too
        for _, x in ipairs(list) do -- a look that was not answered is no miss
            local seen = x ~= did.p and t:clean(x) and (did.seen[x] or t:ask(M.ask_id(key, b), x))
            elsewhere_too = elsewhere_too or seen and seen:hit()
        end
        if not elsewhere_too or t.V and not t:hollow(did.p) then return end
        t.rctx:sleep(M.DELTA / 1000) -- what a removal is about to take from the copies is gone then
        t:ask(id and M.remove_id(key, b, id) or M.remove_key(key, b), did.p)
        t:complete(key, b, list)
    elseif not t:restore(key, b, did.p, list) then
        return
    end
    did.seen[did.p] = t:ask(M.ask_id(key, b), did.p)
    did.res, did.fresh = t:ask(q, did.p) or res, nil
end

-- what can be learnt of the new item on the way
local function look(cmd, form)
    if form == "number" then return "number" end
    return cmd ~= mcp.CMD_MA and cmd ~= mcp.CMD_INCR and cmd ~= mcp.CMD_DECR and "item"
end

-- a command whose outcome depends on the item: once at the authority, then spread
function M.decided(t, r, cmd, key, list, q, id, form, make)
    local b, several, creates = b_flag(r), #list > 1, M.creates(r, cmd)
    while true do
        local wants = several and not make and cmd ~= mcp.CMD_MD and not r:has_flag("I")
        local did, unknown = t:decide(q, list, key, b, { id = id, once = true, fresh = wants and look(cmd, form) })
        if unknown then return M.unknown(t, r) end
        if not did then return M.unreachable(t, r, cmd) end
        if several then revive(t, q, did, list, key, b, id, creates) end
        local res, seen = did.res, did.seen[did.p]
        local old = seen and seen:ok() and (M.id_of(seen) or false)
        local again = false
        if several and (res:ok() and not missed(res) and res:code() ~= mcp.MCMC_CODE_EXISTS) then
            if wants then again = not publish(t, key, b, did, list, old)
            elseif make and id then again = not t:spread(key, b, did.p, list, id, old, make)
            else t:all(M.remove_key(key, b), list, did.p, key, b) end
        elseif several and res:code() == mcp.MCMC_CODE_SERVER_ERROR then
            t:all(M.remove_key(key, b), list, did.p, key, b)
        end
        if not again then
            if did.done then return M.done(t, r, res, form, id) end
            return M.answer(t, r, res, form)
        end
    end
end

local function update(t, r, cmd, key, list)
    local q, id, form, make = M.translate(r, cmd)
    return M.decided(t, r, cmd, key, list, q, id, form, make)
end

M.coherent = { usual = usual, [M.READ] = read, [M.TOUCH] = touch, [M.STORE] = store, [M.REMOVE] = remove, [M.UPDATE] = update }

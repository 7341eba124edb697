-- replicated, coherent: what each class of commands does. Every read and every decision is made at the key's authority,
-- the first server of its order that is trusted, so the cluster answers like one memcached whoever asks; the others hold
-- copies with the same cas id. docs/coherence.md has the protocol. With one copy a key it is the sharded mode: nothing but
-- the first step runs. Worker VM. Does not choose servers (lead.lua) nor talk to them (copies.lua, version.lua).
--
-- In every version: flush_all, verbosity, cache_memlimit, shutdown and unknown commands have no key, so the proxy closes
-- the connection on them.
local function b_flag(r) return r:has_flag("b") and " b" or "" end

local function missed(res)
    local code = res:code()
    return res:ok() and (code == mcp.MCMC_CODE_NOT_FOUND or code == mcp.MCMC_CODE_END or code == mcp.MCMC_CODE_NOT_STORED)
end

local function wrong_request(res) return res:code() == mcp.MCMC_CODE_CLIENT_ERROR end

-- p, the authority, misses what a command wants. If p was emptied another leads now; without a view, which trusts all, p
-- may have it back from a copy -> is it worth asking again?
local function again(t, key, b, p, list)
    if t.V then
        local gone, anew = t:emptied(p)
        return gone or anew and t:give_up(key, b, p, list)
    end
    return t:complete(key, b, list)
end

local function read(t, r, cmd, key, list)
    while true do
        local p = t:lead(list)
        if not p then return M.unreachable(t, r, cmd) end -- a miss: an error line inside a multiget would break the client
        local copied = #list > 1 and cmd ~= mcp.CMD_ME
        local looks = copied and t.V and t:sample(key, r, list)
        local res = t:hear(r, p)
        if res and wrong_request(res) then return res end
        if res and res:ok() then
            if not copied then return res end
            if t:counts(p, list) then
                if res:hit() and looks then t:sampled(key, b_flag(r), looks) end
                if res:hit() or not again(t, key, b_flag(r), p, list) then return res end
            end
        else
            t.dead[p], t.hurt = true, true
        end
    end
end

local function touch(t, r, cmd, key, list)
    local b, q, id = b_flag(r), r, nil
    if cmd == mcp.CMD_MG then q, id = M.translate(r, cmd, key) end
    if id and #list > 1 and M.creates(r, cmd) then return M.decided(t, r, cmd, key, list, q, { id = id }) end
    local res, p
    repeat
        res, p = t:first(q, list)
        if not res or M.reads(cmd) and not res:ok() and not wrong_request(res) then return M.unreachable(t, r, cmd) end
        if #list == 1 then return M.answer(t, r, res) end
    until t:counts(p, list) and not (missed(res) and again(t, key, b, p, list))
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

-- the authority has changed the item in a way that only it knows -> as `spread`
local function publish(t, key, b, did, list, old, how)
    local item = did.fresh
    if not item then
        local res = t:ask(M.ask_item(key, b), did.p)
        if not res then return false end
        t:give_back(res, did.p, key, b)
        item = M.item(res)
        if not item and t:emptied(did.p) then return false end
    end
    if item then -- its id may be another than ours: somebody wrote after us, or a number that gained a digit (1.6.45)
        if item.id ~= how.id then t:witness(item, did.p, list) end
        local before = did.res and M.before(M.value_of(did.res), how.delta)
        local function make(condition) return M.place_item(key, b, item, condition) end
        return t:spread(key, b, did.p, list, { id = item.id, old = old, make = make, number = before, placed = how.placed })
    end
    t:all(M.remove_key(key, b), list, did.p, key, b)
    return true
end

-- did the authority miss, or make anew, what a copy has? Then what it made is undone, which is in doubt if it does not answer, and -> true:
-- decide again. how: of a command that creates
local function astray(t, did, key, b, list, creates, how)
    local res, seen = did.res, did.seen[did.p]
    if seen and (not seen:ok() or seen:hit()) or not res:ok() or not creates and not missed(res) then return false end
    local made, elsewhere = not missed(res), false
    for _, x in ipairs(list) do
        local look = x ~= did.p and t:takes(x) and (did.seen[x] or t:ask(M.ask_id(key, b), x))
        elsewhere = elsewhere or look and look:hit()
    end
    if not elsewhere then return false end
    local gone, anew = t:emptied(did.p)
    if anew and not made then t:give_up(key, b, did.p, list) end
    if t.V and not gone then return false end
    local undo = made and (how.id and M.remove_id(key, b, how.id) or M.remove_key(key, b))
    if undo and not t:ask(undo, did.p) then t:doubt(how, key .. b) end
    return t.V or again(t, key, b, did.p, list)
end

-- what can be learnt of the new item on the way
local function look(cmd, form)
    if form == "number" then return "number" end
    return cmd ~= mcp.CMD_MA and cmd ~= mcp.CMD_INCR and cmd ~= mcp.CMD_DECR and "item"
end

local function remove(t, r, cmd, key, list)
    if #list == 1 then return M.best(t, r, cmd, t:all(r, list), list) end
    local b, did = b_flag(r), nil
    repeat
        did = t:decide(r, list, key, b, {})
        if not did then return M.unreachable(t, r, cmd) end
    until not astray(t, did, key, b, list)
    t:erase(key, b, did.p, list, did.seen)
    return M.answer(t, r, did.res)
end

-- the outcome of what was decided goes to the copies -> as `spread`
local function settle(t, did, key, b, list, how, make)
    local res, seen = did.res, did.seen[did.p]
    local old = seen and seen:ok() and (M.id_of(seen) or false)
    if did.done then return not did.last or publish(t, key, b, did, list, nil, how) end
    if res:code() == mcp.MCMC_CODE_SERVER_ERROR then -- too large or out of memory: memcached has removed the old item
        t:all(M.remove_key(key, b), list, did.p, key, b)
    elseif res:ok() and not missed(res) and res:code() ~= mcp.MCMC_CODE_EXISTS then
        if how.publish then return publish(t, key, b, did, list, old, how) end
        if make and how.id then return t:spread(key, b, did.p, list, { id = how.id, old = old, make = make, placed = how.placed }) end
        t:all(M.remove_key(key, b), list, did.p, key, b)
    end
    return true
end

-- a command whose outcome is decided at the authority, once, and then spread. how: id and delta as in `decide`; make: condition
-- -> request for the copies, where the command says all of the new item
function M.decided(t, r, cmd, key, list, q, how, form, make)
    local b, several, creates = b_flag(r), #list > 1, M.creates(r, cmd)
    how.once, how.placed = not how.id, how.placed or {}
    how.stamps = how.id and several and (cmd == mcp.CMD_INCR or cmd == mcp.CMD_DECR or cmd == mcp.CMD_MA and not r:has_flag("C"))
    how.publish = several and not make and cmd ~= mcp.CMD_MD and not r:has_flag("I")
    how.fresh = how.publish and look(cmd, form)
    while true do
        local did, unknown = t:decide(q, list, key, b, how)
        if unknown then return M.unknown(t, r) end
        if not did then
            if how.sure or not how.doubt or not t:has_left() then return M.unreachable(t, r, cmd) end
            t.left = false -- its ring is gone: it can't be found out any more, and must not run twice
            return M.unknown(t, r)
        end
        if not several or not (not did.done and astray(t, did, key, b, list, creates, how)) then
            if not several or settle(t, did, key, b, list, how, make) or not how.id then
                if did.done then return M.done(t, r, did.value, form, how.id) end
                return M.answer(t, r, did.res, form)
            end
            how.value = did.done and did.value or not did.done and M.value_of(did.res) or nil
            how.placed[did.p], how.sure = true, true
            t:doubt(how, key .. b)
        end
    end
end

local function update(t, r, cmd, key, list)
    local begun = t.begun
    t.begun = nil
    if begun then return M.decided(t, r, cmd, key, list, begun.q, begun.how, begun.form, begun.make) end
    local q, id, form, make, delta = M.translate(r, cmd, key)
    return M.decided(t, r, cmd, key, list, q, { id = id, delta = delta, sure = M.class(r, cmd) == M.STORE }, form, make)
end

local function store(t, r, cmd, key, list)
    if #list == 1 then return store_alone(t, r, cmd, list) end
    return update(t, r, cmd, key, list)
end

M.coherent = { usual = M.usual, [M.READ] = read, [M.TOUCH] = touch, [M.STORE] = store, [M.REMOVE] = remove, [M.UPDATE] = update }

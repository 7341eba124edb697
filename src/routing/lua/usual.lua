-- The short way: a read, a set of an item that exists, or an incr of a number, while the view is fresh, nobody is marked, no ring is
-- changing, and there is nothing to do beside it. That is most of what is asked, so it makes as few tables as it can. What it can't
-- end goes the long way (coherent.lua), which goes on with what was sent, and does not send it again. Worker VM.
local mono, ANY, READ <const>, STORE <const> = mcp.time_mono_millis, mcp.WAIT_ANY, M.READ, M.STORE
local MOST <const> = 4 -- handles of one server that the short way uses
local Copies = M.Copies

local function took(res) return res:code() == mcp.MCMC_CODE_OK end -- one that failed has a code of its own

-- waits for n requests, and for what is queued in front of them (failover.lua)
local function wait(t, n)
    local queued = t.queued
    t.queued = 0
    t.rctx:wait_cond(n + queued, ANY)
end

-- one server's answer is all that is wanted -> as `usual`
local function ask_one(t, r, class, list, limit)
    local handle = t.H[list[1]][1]
    -- only in front of a write something may be queued
    local res = class == STORE and t:ask_by(r, handle) or t.rctx:enqueue_and_wait(r, handle)
    local counts = class == STORE or mono() < limit -- else another may be the authority by now
    if class == STORE then
        if res:ok() then return M.answer(t, r, res) end
    elseif counts and res:hit() then return res end
    return nil, { list = list, used = 1, counts = counts }
end

-- sends a new version to the copies, each by its handle n -> have all taken it?
local function offer(t, q, list, n)
    local rctx, H, all = t.rctx, t.H, true
    for i = 2, #list do rctx:enqueue(q, H[list[i]][n]) end
    rctx:wait_cond(#list - 1, ANY)
    for i = 2, #list do all = took(rctx:result(H[list[i]][n])) and all end
    return all
end

-- a set as M.translate, and what M.says of a text one
local function translated(t, r, cmd, key)
    if cmd == mcp.CMD_SET then
        local id = M.new_id()
        local says, size = M.says(r, cmd, id)
        if says then return t:fill("item", r, says, r), id, "word", nil, says, size end
    elseif not r:has_flag("b") then -- else a look at it may take a client's token
        local q, id, form, make = M.translate(r, cmd, key)
        if make then return q, id, form, make end
    end
end

-- a set where keys have copies -> as `usual`
local function put(t, r, cmd, key, list, start, limit)
    local q, id, form, make, says, size = translated(t, r, cmd, key)
    if not q then return end
    local rctx, H, p, sent = t.rctx, t.H, list[1], M.sends()
    local look, ticket, turns, old = H[p][1], H[p][2], t.servers[p].turns, nil
    rctx:enqueue(t:fill("look", r), look)
    rctx:enqueue(q, ticket)
    wait(t, 2)
    local before, res = rctx:result(look), rctx:result(ticket)
    if took(res) and mono() < limit then old = M.id_of(before) end
    local copy = old and (says and t:fill("copy", r, says .. " C" .. old, r) or make(" C" .. old))
    if old and offer(t, copy, list, 1) then return form and M.done(t, r, nil, form) or M.answer(t, r, res) end
    make = make or M.maker(r, key, says, size)
    local tried = { p = p, start = start, limit = limit, turns = turns, look = look, cmd = ticket }
    local how = { id = id, sure = true, sent = sent, placed = {}, tried = tried }
    return nil, { list = list, used = 2, uses = 1, spread = old, q = q, form = form, make = make, how = how }
end

-- incr or decr where keys have copies -> as `usual`. What a copy needs beside the number is asked of the second server.
local function count(t, r, cmd, key, list, start, limit)
    local id = M.new_id()
    local says, delta = M.counts_by(r, cmd, id)
    if not says then return end
    local q, look = t:fill("count", r, says), t:fill("look", r)
    local rctx, H, p, sent = t.rctx, t.H, list[1], M.sends()
    local mine, other, turns, old, item = H[p], H[list[2]][1], t.servers[p].turns, nil, nil
    rctx:enqueue(look, mine[1])
    rctx:enqueue(q, mine[2])
    rctx:enqueue(t:fill("stamp", r, M.STAMP .. id), mine[3])
    rctx:enqueue(look, mine[4])
    rctx:enqueue(t:fill("counter", r, M.COUNTER), other)
    wait(t, 5)
    local before, res, copy = rctx:result(mine[1]), rctx:result(mine[2]), rctx:result(other)
    if took(res) and mono() < limit then old = M.id_of(before) end
    if old and M.is_version(copy, old) then
        item = M.counted(rctx:result(mine[3]), rctx:result(mine[4]), copy, id)
    end
    if item and offer(t, t:fill("copy", r, M.item_says(item, " C" .. old), item.value), list, 2) then
        return M.answer(t, r, res, "number")
    end
    local tried = { p = p, start = start, limit = limit, turns = turns, look = mine[1], cmd = mine[2], fresh = item }
    local how = { id = id, delta = delta, sent = sent, placed = {}, tried = tried }
    return nil, { list = list, used = 4, uses = 2, look = true, spread = item, q = q, form = "number", how = how }
end

-- the view is about to run out: this request reads it before it ends. Those that begin now would come too late where answers take long.
local function read_on(t, V, list)
    V.due = V.valid -- the others need not
    if not M.reads_early(V) then return end
    t:begin()
    for i = 1, #list do t.used[list[i]] = MOST end
    t:renew()
end

-- known: of M.view -> function(t, r, cmd, key, class) -> the answer; else nil, and what was sent, if anything: list = of the key's
-- servers in `ring`, used = handles of the first, counts = its answer is good for the long way; for a write with copies also how, q, form,
-- make (as M.decided), uses = handles of a copy, spread = whether the last of them was for the new version, look = whether the first of
-- the second server's was for a look.
function M.usual(known)
    local V, orders = known.memory, known.orders
    return function(t, r, cmd, key, class)
        if not (V.calm and V.steady) or V.tends > 0 or V.kept or V.waiting > 0 then return end
        local counts = class ~= READ and class ~= STORE
        if counts and cmd ~= mcp.CMD_INCR and cmd ~= mcp.CMD_DECR then return end
        local now = mono()
        if now >= V.valid then return end
        local ring, res, begun = V.ring, nil, nil
        local list = orders[ring.place](key)
        if list.unknown then return end
        local limit = V.valid + M.GRACE
        V.asks = V.asks + 1
        if class ~= READ and #list > 1 then res, begun = (counts and count or put)(t, r, cmd, key, list, now, limit)
        elseif counts then return
        else res, begun = ask_one(t, r, class, list, limit) end
        if res and V.due ~= V.valid and mono() >= V.early then read_on(t, V, list)
        elseif begun then begun.ring = ring end
        return res, begun
    end
end

-- goes on with what the short way has begun: who hangs need not be waited for again
function Copies:take_over(begun)
    local H, list, n = self.H, begun.list, begun.uses
    local p = list[1]
    self.used[p] = begun.used
    for i = 2, n and #list or 1 do self.used[list[i]] = n end -- all of them before anything is sent
    if not self:hangs(H[p][begun.used], p) and begun.counts then self.asked = p end
    if begun.look then self:hangs(H[list[2]][1], list[2]) end
    for i = 2, begun.spread and #list or 1 do
        local x = list[i]
        if not self:hangs(H[x][n], x) and took(self.rctx:result(H[x][n])) then begun.how.placed[x] = true end
    end
    self.begun = begun.how and begun
end

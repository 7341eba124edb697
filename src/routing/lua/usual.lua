-- The short way: a read, or a set of an item that exists, while the view is fresh, nobody is marked, no ring is changing, and
-- there is nothing to do beside it. That is most of what is asked, so it makes as few tables as it can. What it can't end goes
-- the long way (coherent.lua), which goes on with what was sent, and does not send it again. Worker VM.
local mono, ANY, READ <const>, STORE <const> = mcp.time_mono_millis, mcp.WAIT_ANY, M.READ, M.STORE
local Copies = M.Copies

local function took(res) return res:code() == mcp.MCMC_CODE_OK end -- one that failed has a code of its own

-- one server's answer is all that is wanted -> as `usual`
local function ask_one(t, r, class, list, limit)
    local res = t.rctx:enqueue_and_wait(r, t.H[list[1]][1])
    local counts = class == STORE or mono() < limit -- else another may be the authority by now
    if class == STORE then
        if res:ok() then return M.answer(t, r, res) end
    elseif counts and res:hit() then return res end
    return nil, { list = list, used = 1, counts = counts }
end

-- a set where keys have copies -> as `usual`
local function put(t, r, cmd, key, list, start, limit)
    if cmd == mcp.CMD_MS and r:has_flag("b") then return end -- a look at such a key may take a client's token
    local q, id, form, make = M.translate(r, cmd, key)
    if not make then return end
    local rctx, H, p, sent = t.rctx, t.H, list[1], M.sends()
    local look, ticket, turns, old = H[p][1], H[p][2], t.servers[p].turns, nil
    rctx:enqueue(M.ask_id(key, ""), look)
    rctx:enqueue(q, ticket)
    rctx:wait_cond(2, ANY)
    local before, res = rctx:result(look), rctx:result(ticket)
    if took(res) and mono() < limit then old = M.id_of(before) end
    if old then
        local copy, all = make(" C" .. old), true
        for i = 2, #list do rctx:enqueue(copy, H[list[i]][1]) end
        rctx:wait_cond(#list - 1, ANY)
        for i = 2, #list do all = took(rctx:result(H[list[i]][1])) and all end
        if all then return form and M.done(t, r, nil, form) or M.answer(t, r, res) end
    end
    local tried = { p = p, start = start, limit = limit, turns = turns, look = look, cmd = ticket }
    local how = { id = id, sure = true, sent = sent, placed = {}, tried = tried }
    return nil, { list = list, used = 2, spread = old, q = q, form = form, make = make, how = how }
end

-- known: of M.view -> function(t, r, cmd, key, class) -> the answer; else nil, and what was sent, if anything: list = of the key's
-- servers, used = handles of the first, the last of them for the command, counts = its answer is good for the long way;
-- for a set with copies also how, q, form, make (as M.decided), spread = whether copies were sent it.
function M.usual(known)
    local V, orders = known.memory, known.orders
    return function(t, r, cmd, key, class)
        if class ~= READ and class ~= STORE or not (V.calm and V.steady) or V.tends > 0 or V.kept or V.waiting > 0 then return end
        local now = mono()
        if now >= V.early and (now >= V.valid or V.due ~= V.valid) then
            V.due = V.valid -- this one reads the view when it is done, the others need not
            return
        end
        local list = orders[V.ring.place](key)
        if list.unknown then return end
        local limit = V.valid + M.GRACE
        if class == STORE and #list > 1 then return put(t, r, cmd, key, list, now, limit) end
        return ask_one(t, r, class, list, limit)
    end
end

-- goes on with what the short way has begun: who hangs need not be waited for again
function Copies:take_over(begun)
    local H, list = self.H, begun.list
    local p, copies = list[1], begun.spread and #list or 1
    for i = 1, copies do self.used[list[i]] = i == 1 and begun.used or 1 end -- all of them before anything is sent
    if not self:hangs(H[p][begun.used], p) and begun.counts then self.asked = p end
    for i = 2, copies do
        local x = list[i]
        if not self:hangs(H[x][1], x) and took(self.rctx:result(H[x][1])) then begun.how.placed[x] = true end
    end
    self.begun = begun.how and begun
end

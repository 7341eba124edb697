-- Making servers whole again by comparing, a little after each request. Worker VM.
--   owed keys      a server that was lost and is back gets, for each key that it was owed, what the key's authority has
--                  now. When nothing is owed, its mark becomes `r` for two changes' time and then goes (marks.lua).
--   emptied        a read that finds such a server without the key leaves a note; the item is put there by a later request.
-- Nobody reads a server that is mended. Nobody sweeps: what is not read or owed is left to a controller.
local match = string.match
local mono = mcp.time_mono_millis
local Copies = M.Copies

local PROBE <const> = 100 -- ms between two looks whether a lost server is back
-- A packet that a server has not got is sent again after a time that doubles, so one from before an outage comes at most
-- as long after its end as it lasted. So long a server that is back gets no repair yet. Milliseconds.
local SETTLE_MIN <const>, SETTLE_MAX <const> = 300, 60000
local READY <const> = 3 * M.LEASE + 2 * (M.GRACE + M.HEAD)
local NOTES <const> = 1000 -- keys to be looked after; more are forgotten, reads find them again
M.SELDOM = 31 -- one read hit of so many looks at the other copies while they are complete; odd, as rounds of keys are not

-- puts `item` on server x in place of version `there` (nil: of nothing), if source still has it afterwards
local function put(t, key, b, item, source, x, there)
    if not (t:room(source, 1) and t:room(x, 2)) then return false end -- what it puts it must be able to take back
    local done = t:try(M.place_item(key, b, item, there and " C" .. there or " ME"), x)
    local now = t:try(M.ask_id(key, b), source)
    if now and M.id_of(now) == item.id then return done and done:ok() and done:code() == mcp.MCMC_CODE_OK end
    if done then t:try(M.remove_id(key, b, item.id), x) end -- a newer write or a removal has passed us
    return false
end

-- All servers of the key have missed writes, perhaps of other proxies than this one. Those that this one does not owe the key (if it
-- owes it to all: all) know whether it was removed: none of them has it, or one that was not emptied has nothing. Else the latest
-- version counts, wherever it is, as ids grow with time. One that is away is not waited for: clients do without it too.
-- -> nil if one does not answer, else what each has (id or false) and, if the key is to stay, whose item counts
local function opinions(t, name, key, b, list)
    local looks, wholes, has, knows, best, kept = {}, {}, {}, {}, nil, false
    for _, y in ipairs(list) do
        local rec = t.servers[y]
        if not rec.lost or rec.back then
            looks[y], wholes[y] = t:send(M.ask_id(key, b), y) or false, t:send(M.request("mg " .. M.WHOLE), y)
            if not (rec.owed[name] or rec.too_many) then knows[y] = true end
        end
    end
    t:wait()
    for y, look in pairs(looks) do
        local res, whole = t:got(look), t:got(wholes[y])
        if not res or not whole or not res:ok() or not whole:ok() then return nil end
        has[y], wholes[y] = M.id_of(res) or false, whole:hit()
        if has[y] and (not best or tonumber(has[y]) > tonumber(has[best])) then best = y end
    end
    for y in pairs(next(knows) and knows or has) do
        if not has[y] and wholes[y] then return has, nil end
        kept = kept or has[y]
    end
    return has, kept and best
end

-- they all get that, also those that others owe it: who owes them the key comes to the same. -> was nothing left to do?
local function agree(t, name, key, b, list)
    local has, best = opinions(t, name, key, b, list)
    if not has then return false end
    local found = best and t:try(M.ask_item(key, b), best)
    if best and not (found and found:ok()) then return false end
    local item, same = M.item(found), true -- one that must not be copied goes
    t:give_back(found, best, key, b)
    for y, there in pairs(has) do
        if there ~= (item and item.id or false) then
            same = false
            if item then put(t, key, b, item, best, y, there)
            else t:try(M.remove_id(key, b, there), y) end
        end
    end
    return same
end

local function forget(t, x, key, b)
    local gone = t:try(M.remove_key(key, b), x)
    return gone and gone:ok()
end

-- server x gets what the key's authority has -> is it done?
local function compare(t, x, key, b)
    local regular, holds = t:servers_of(key), false
    for _, y in ipairs(regular) do holds = holds or y == x end
    if not holds then return forget(t, x, key, b) end -- not any more
    local list = t.stand_ins and t:with_stand_in(regular, key) or regular
    if #list == 1 then return true end -- there is no other copy
    local source = t:lead(list)
    if not source then return false end
    if source == x or t.servers[source].bad >= 2 then
        if #regular > 1 then return agree(t, key .. b, key, b, regular) end
        return forget(t, x, key, b) -- who may have been written instead can't be asked: a cache may lose a key
    end
    local item_ticket, id_ticket = t:send(M.ask_item(key, b), source), t:send(M.ask_id(key, b), x)
    t:wait()
    local found, seen = t:got(item_ticket), t:got(id_ticket)
    if not found or not seen or not found:ok() or not seen:ok() then return false end
    local item, there = M.item(found), M.id_of(seen)
    t:give_back(found, source, key, b)
    if item and item.id == there then return t:counts(source, list) end
    if item then return put(t, key, b, item, source, x, there) and t:counts(source, list) end
    if not there then return t:counts(source, list) end
    local gone = t:try(M.remove_id(key, b, there), x)
    return gone and gone:ok() and gone:code() ~= mcp.MCMC_CODE_EXISTS and t:counts(source, list)
end

-- one owed key of a server that is back. The note stays until it is done, in case that the request ends in an error.
local function mend(t, x, rec)
    local now = mono()
    local name, since, tries = nil, nil, 0
    for key, value in pairs(rec.owed) do
        if value == true or now - value > 1000 then name, since = key, value break end
        tries = tries + 1
        if tries > 8 then break end
    end
    if not name then return end
    rec.owed[name] = now
    local key, b = match(name, "^(%S+)(.*)$")
    if compare(t, x, key, b) then
        if rec.owed[name] == now then rec.owed[name], rec.owing = nil, rec.owing - 1 end
    elseif rec.owed[name] == now then
        rec.owed[name] = since
    end
end

-- takes a lost server a step further on its way back
local function recover(t, x, rec)
    local now = mono()
    if not rec.back then
        if now - rec.probed < PROBE then return end
        rec.probed = now
        local res = t:try(t:ask_whole(x), x)
        if not res or not res:ok() or rec.back then return end
        rec.back = mono()
        if not res:hit() then t:mark_emptied(x) end
    elseif rec.too_many or now - rec.back < math.min(math.max(rec.back - rec.lost, SETTLE_MIN), SETTLE_MAX) then
        return
    elseif rec.owing > 0 then
        mend(t, x, rec)
    elseif not rec.ready then
        rec.ready = now -- the next reading of the view writes it down
        t.V.early = 0
    elseif (rec.everywhere or t.kept_for) and now - rec.ready > READY + M.LEASE + (t.kept_for or 0) then
        rec.lost, rec.ready, rec.back = nil, nil, nil
        t.V.tends, t.V.early = t.V.tends - 1, 0
    end
end

-- one step of what is to be done beside requests
function Copies:tend()
    for x, rec in ipairs(self.servers) do
        if rec.lost then recover(self, x, rec) end
    end
    local V = self.V
    local note = V.later[1]
    if note and mono() >= note.at then
        table.remove(V.later, 1)
        V.later[note.key .. note.b], V.tends = nil, V.tends - 1
        self:complete(note.key, note.b, self:servers_of(note.key))
    end
end

-- notes a key whose copies are not complete
function Copies:note(key, b)
    local V = self.V
    if not V or #V.later >= NOTES or V.later[key .. b] then return end
    V.later[key .. b] = true
    V.later[#V.later + 1] = { key = key, b = b, at = mono() + M.DELTA }
    V.tends = V.tends + 1
end

-- asks the emptied servers that take writes whether they have the key -> tickets, or nil if there are none
local function ask_emptied(t, key, b, list)
    local tickets
    for _, x in ipairs(list) do
        if t:takes(x) and (not t.V or t.servers[x].emptied) then
            tickets = tickets or {}
            tickets[x] = t:send(M.ask_id(key, b), x)
        end
    end
    return tickets
end

local function lacks(t, ticket)
    local res = t:got(ticket)
    return res and res:ok() and not res:hit()
end

-- with a read: every now and then, or often while copies are found missing, asks the emptied servers too, in the same go: one
-- more round would hold up all that the client has sent behind it -> tickets for `sampled`, or nil
function Copies:sample(key, r, list)
    local V = self.V
    if V.calm then return nil end
    V.reads = V.reads + 1
    if V.reads < V.every then return nil end
    V.reads = 0
    return ask_emptied(self, key, r:has_flag("b") and " b" or "", list)
end

-- that read was a hit: have the emptied servers the item too?
function Copies:sampled(key, b, tickets)
    local V, missing = self.V, false
    for _, ticket in pairs(tickets) do missing = missing or lacks(self, ticket) end
    if missing then V.gap = mono() end
    V.every = missing and 1 or math.min(V.every * 2, M.SELDOM)
    if missing then self:note(key, b) end
end

-- which of the emptied servers lack the key
local function lacking(t, key, b, list)
    local tickets, found = ask_emptied(t, key, b, list) or {}, {}
    t:wait()
    for _, x in ipairs(list) do
        if tickets[x] and lacks(t, tickets[x]) then found[#found + 1] = x end
    end
    return found
end

-- puts the item of the first trusted server on those that were emptied and lack it -> was any put?
function Copies:complete(key, b, list)
    local source, item, any
    for _, x in ipairs(list) do
        if self:clean(x) then
            local res = self:try(M.ask_item(key, b), x)
            source, item = x, M.item(res)
            self:give_back(res, x, key, b)
            if item or self.V then break end -- without a view all are trusted, and any may have been emptied
        end
    end
    if not item then return false end
    for _, x in ipairs(lacking(self, key, b, list)) do
        if x ~= source and put(self, key, b, item, source, x, nil) then any = true end
    end
    return any
end

-- authority p, which has started anew, misses the key: then it is lost, and must not come back from others -> had one of them it? Then ask
-- p again, as it may just have been written.
function Copies:give_up(key, b, p, list)
    local tickets, found = {}, false
    for _, x in ipairs(list) do
        if x ~= p and self:takes(x) then tickets[x] = self:send(M.ask_id(key, b), x) end
    end
    self:wait()
    for _, x in ipairs(list) do
        local res = self:got(tickets[x])
        local id = res and M.id_of(res)
        if id then
            found = true
            self:all(M.remove_id(key, b, id), { x }, nil, key, b)
        elseif x ~= p and not res then
            self:owe(x, key, b)
        end
    end
    return found
end

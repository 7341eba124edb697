-- Making servers whole again by comparing, a little after each request. Worker VM.
--   owed keys      a server that was lost and is back gets, for each key that it was owed, what the key's authority has
--                  now. When nothing is owed, its mark becomes `r` for two changes' time and then goes (marks.lua).
--   missing copies a read that finds a server without the key leaves a note; the item is put there by a later request.
-- Nobody sweeps: what is not read or owed is left to a controller.
local match = string.match
local mono = mcp.time_mono_millis
local Copies = M.Copies

local PROBE <const> = 100 -- ms between two looks whether a lost server is back
-- A packet that a server has not got is sent again after a time that doubles, so one from before an outage comes at most
-- as long after its end as it lasted. So long a server that is back gets no repair yet. Milliseconds.
local SETTLE_MIN <const>, SETTLE_MAX <const> = 300, 60000
local READY <const> = 2 * (M.LEASE + M.GRACE)
local NOTES <const> = 1000 -- keys to be looked after; more are forgotten, reads find them again
local SELDOM <const> = 31 -- one read of so many looks at the other copies while they are complete; odd, as rounds of keys are not

-- puts `item` on server x in place of version `there` (nil: of nothing), if source still has it afterwards
local function put(t, key, b, item, source, x, there)
    local done = t:try(M.place_item(key, b, item, there and " C" .. there or " ME"), x)
    local now = t:try(M.ask_id(key, b), source)
    if now and M.id_of(now) == item.id then return done and done:ok() and done:code() == mcp.MCMC_CODE_OK end
    if done then t:try(M.remove_id(key, b, item.id), x) end -- a newer write or a removal has passed us
    return false
end

-- This proxy owes the key to all its servers: the latest version counts, as ids grow with time, and where one that was not
-- emptied has nothing, the key was removed. One that is away is not waited for: clients do without it too.
-- -> nil if one does not answer, else the server to learn from (x itself if none is better), and true if the key is to go
local function latest(t, x, key, b, list)
    local tickets, best, newest = {}, x, 0
    for _, y in ipairs(list) do
        local rec = t.servers[y]
        if not rec.lost or rec.back then tickets[y] = t:send(M.ask_id(key, b), y) end
    end
    t:wait()
    for y, ticket in pairs(tickets) do
        local res = t:got(ticket)
        if not res or not res:ok() then return nil end
        local id = math.tointeger(tonumber(M.id_of(res)))
        if not id and not t:hollow(y) then return x, true end
        if id and id > newest then best, newest = y, id end
    end
    return best, false
end

-- who knows what server x ought to have of the key: the first that is trusted; when all are dirty the one that became so last, of
-- those that this proxy does not owe the key, and never a stand-in; nil if there is none
local function teacher(t, x, name, list)
    for _, y in ipairs(list) do
        if y ~= x and t:clean(y) then return y end
    end
    local best, rank = nil, 0
    for _, y in ipairs(list) do
        local rec, regular = t.servers[y], not t.stand_ins or y <= t.regulars
        local owes = rec.owed[name] or rec.too_many
        if y ~= x and regular and not t.dead[y] and not owes and rec.rank >= rank then best, rank = y, rec.rank end
    end
    return best
end

local function forget(t, x, key, b)
    local gone = t:try(M.remove_key(key, b), x)
    return gone and gone:ok()
end

-- server x gets what the key's authority has -> is it done?
local function compare(t, x, key, b)
    local list, holds = t:servers_of(key), false
    for _, y in ipairs(list) do holds = holds or y == x end
    if not holds then return forget(t, x, key, b) end -- not any more
    if t.stand_ins then list = t:with_stand_in(list, key) end
    if #list == 1 then return true end -- there is no other copy
    local source, removed = teacher(t, x, key .. b, list), false
    if not source then
        if t.stand_ins then return forget(t, x, key, b) end -- who may have been written instead can't be asked: a cache may lose a key
        source, removed = latest(t, x, key, b, list)
    end
    if not source then return false end
    if source == x and not removed then return true end
    local item_ticket, id_ticket = t:send(M.ask_item(key, b), source), t:send(M.ask_id(key, b), x)
    t:wait()
    local found, seen = t:got(item_ticket), t:got(id_ticket)
    if not found or not seen or not found:ok() or not seen:ok() then return false end
    local item, there = not removed and M.item(found), M.id_of(seen)
    t:give_back(found, source, key, b)
    if item and item.id == there then return true end
    if item then return put(t, key, b, item, source, x, there) end
    if not there then return true end
    local gone = t:try(M.remove_id(key, b, there), x)
    return gone and gone:ok() and gone:code() ~= mcp.MCMC_CODE_EXISTS
end

-- one owed key of a server that is back. The note stays until it is done, in case that the client leaves meanwhile.
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
        local res = t:try(M.request("mg " .. M.VIEW), x)
        if res and res:ok() and not rec.back then rec.back = mono() end
    elseif rec.too_many or now - rec.back < math.min(math.max(rec.back - rec.lost, SETTLE_MIN), SETTLE_MAX) then
        return
    elseif rec.owing > 0 then
        mend(t, x, rec)
    elseif not rec.ready then
        rec.ready = now -- the next reading of the view writes it down
        t.V.early = 0
    elseif now - rec.ready > READY + M.LEASE + (t.kept_for or 0) then
        rec.lost, rec.ready, rec.back = nil, nil, nil
        t.V.tends, t.V.early = t.V.tends - 1, 0
    end
end

-- is it a server of today's configuration, and which?
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

-- with a read at p: every now and then, or often while copies are found missing, asks the others too, in the same go: one
-- more round would hold up all that the client has sent behind it -> tickets for `sampled`, or nil
function Copies:sample(key, r, p, list)
    local V = self.V
    V.reads = V.reads + 1
    if V.reads < V.every then return nil end
    V.reads = 0
    local tickets, q = {}, M.ask_id(key, r:has_flag("b") and " b" or "")
    for _, x in ipairs(list) do
        if x ~= p and self:clean(x) then tickets[x] = self:send(q, x) end
    end
    return tickets
end

-- that read was a hit: have the others the item too?
function Copies:sampled(key, b, tickets)
    local V, missing = self.V, false
    for x, ticket in pairs(tickets) do
        local res = self:got(ticket)
        missing = missing or res and res:ok() and not res:hit() and self:hollow(x)
    end
    V.every = missing and 1 or math.min(V.every * 2, SELDOM)
    if missing then self:note(key, b) end
end

-- which clean servers have the key -> the first that has it, those that lack it, and whether some answer was missing
local function survey(t, key, b, list)
    local tickets, source, lacking = {}, nil, {}
    for _, x in ipairs(list) do
        if t:clean(x) then tickets[x] = t:send(M.ask_id(key, b), x) end
    end
    t:wait()
    for _, x in ipairs(list) do
        local res = t:got(tickets[x])
        if res and res:hit() then source = source or x
        elseif res and res:ok() then lacking[#lacking + 1] = x end
    end
    return source, lacking
end

-- puts the item on every clean server that lacks it -> "done", or "late": an item is on its way for at most DELTA, because
-- a removal that finds the servers in disagreement waits longer than that and removes once more (version.lua)
function Copies:complete(key, b, list)
    local start = mono()
    local source, lacking = survey(self, key, b, list)
    if not source or #lacking == 0 then return "done" end
    local res = self:try(M.ask_item(key, b), source)
    local item = M.item(res)
    self:give_back(res, source, key, b)
    if not item then return "done" end
    if mono() - start > M.DELTA then return "late" end
    for _, x in ipairs(lacking) do put(self, key, b, item, source, x, nil) end
    return "done"
end

-- authority p misses what a command wants -> a server that has it, if any and if p was emptied; then p has it too, if it
-- can take it. What a write in flight is about to take from the copies is gone after DELTA, so that is waited for first.
function Copies:restore(key, b, p, list)
    if self.V and not self:hollow(p) or not survey(self, key, b, list) then return nil end
    self.rctx:sleep(M.DELTA / 1000)
    for _ = 1, 3 do
        if self:complete(key, b, list) == "done" then break end
    end
    return (survey(self, key, b, list))
end

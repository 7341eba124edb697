-- Moving: while two rings count, an item is brought to its new servers before it is changed. Worker VM.
-- The item is put at the authority by add, with its cas id, then taken away at the source by that id: look and removal in one
-- step. If the source has it no longer, somebody wrote or removed it, and what was put goes again. Who removes must not meet
-- an item on its way, so who moves or removes a key that is moving holds its lock, an item at the authority. Every write
-- ends with the key's removal from the old servers. Does not know who is in which ring (ring.lua).
local mono = mcp.time_mono_millis
local match, find, format = string.match, string.find, string.format
local Copies = M.Copies

local LOCK <const> = "__mcp:m:"
local SECONDS <const> = 5 -- life of a lock whose owner is gone; nobody waits for it that long:
local STEAL <const> = 1.5 * M.DELTA -- ms after which a lock is taken over. Its owner moves nothing later than DELTA after taking it.
local PAUSE <const> = 0.016 -- seconds between two tries to take a lock; each takes a handle
local TRIES <const> = 2 -- of a move

-- -> the lock, or nil if p does not answer
local function take(t, key, p)
    local name, id = LOCK .. format("%x", M.hash(key)), M.new_id()
    local q = M.request(format("mg %s c N%d E%s", name, SECONDS, id))
    local holder, since = nil, 0
    while true do
        local res = t:try(q, p)
        local line = res and res:ok() and res:line() or ""
        local now = match(line, "%f[%w]c(%d+)")
        if not now then return nil end
        if now == id and find(line, "%f[%w]W") then return { name = name, id = id, at = p, start = mono() } end
        if now ~= holder then holder, since = now, mono()
        elseif mono() - since > STEAL then t:try(M.remove_id(name, "", holder), p) end
        t.rctx:sleep(PAUSE)
    end
end

local function release(t, lock) t:try(M.remove_id(lock.name, "", lock.id), lock.at) end

-- the server that the item is to be brought from, if authority p has no such item. Of the old servers the first trusted one
-- knows, or, if that has been emptied, the next.
local function source(t, key, b, p)
    local q, tickets = M.ask_id(key, b), {}
    for _, x in ipairs(t.before) do
        if t:clean(x) then tickets[x] = t:send(q, x) end
    end
    if not tickets[p] then tickets[p] = t:send(q, p) end
    t:wait()
    local here = t:got(tickets[p])
    if not here or here:ok() and here:hit() then return nil end
    for _, x in ipairs(t.before) do
        local res = t:got(tickets[x])
        if res and res:ok() then
            if res:hit() then return x end
            if not t.V or not t:hollow(x) then return nil end
        end
    end
end

-- takes `id` away at the source, which shows that it was still there -> true; nil if the source no longer answers
local function confirm(t, key, b, id, from, list)
    for _, x in ipairs(list) do
        if x == from then
            local res = t:try(M.ask_id(key, b), x)
            if not res then return nil end
            return M.id_of(res) == id
        end
    end
    local res = t:try(M.remove_id(key, b, id), from)
    if not res then
        t:owe(from, key, b)
        return nil
    end
    return res:ok() and res:code() == mcp.MCMC_CODE_OK
end

-- -> true if it was too slow to put it
local function move(t, key, b, p, list, from, lock)
    local item = M.item(t:try(M.ask_item(key, b), from))
    if not item then return false end
    if mono() - lock.start > M.DELTA then return true end
    local put = M.place_item(key, b, item, " ME")
    local done = t:try(put, p)
    if not done or not done:ok() or done:code() ~= mcp.MCMC_CODE_OK then return false end -- something newer is there
    local others = {} -- also those that are marked: nobody owes them what they hold nothing of
    for _, x in ipairs(list) do
        if x ~= p and x ~= from then others[#others + 1] = x end
    end
    if #others > 0 then t:all(put, others, nil, key, b) end
    if confirm(t, key, b, item.id, from, list) == false then
        t:all(M.remove_id(key, b, item.id), list, from)
    end
    return false
end

-- brings the key to its authority if it is still with the ring before -> if it is to be kept, the lock, to be released
local function bring(t, key, b, list, keep)
    local p = t:lead(list)
    if not p or not keep and not source(t, key, b, p) then return nil end
    for try = 1, TRIES do
        local lock = take(t, key, p)
        if not lock then return nil end
        local from = source(t, key, b, p) -- it may have gone while the lock was another's
        local late = from and move(t, key, b, p, list, from, lock)
        if keep and (not late or try == TRIES) then return lock end
        release(t, lock)
        if not late then return nil end
    end
end

-- does a write to a key that is moving
function Copies:moving(r, cmd, key, list, class, act)
    local b = r:has_flag("b") and " b" or ""
    local lock = class ~= M.STORE and bring(self, key, b, list, class == M.REMOVE or cmd == mcp.CMD_MD)
    local res = self.left and self.out or act(self, r, cmd, key, list)
    if not self.left then self:all(M.remove_key(key, b), self.old, nil, key, b) end
    if lock then release(self, lock) end
    return res
end

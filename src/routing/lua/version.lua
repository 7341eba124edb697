-- Versions: a write is decided at the authority under one cas id, and its outcome spread to the copies. Worker VM.
-- A copy is overwritten only where it still holds the version that the authority held before (C<id>), so a late or doubled
-- message can never undo a newer write; only an empty place needs a second look. Does not know commands (coherent.lua).
local Copies = M.Copies

local ROUNDS <const> = 3 -- a copy that others write at the same time is tried so often, then taken away

local function id_at(res) return res and res:ok() and (M.id_of(res) or false) end

-- a quick failure of a command that must not run twice: its cas id tells whether it ran -> the answer; true if it ran and
-- the answer is that of `mg key v c u`
local function resume(t, q, p, ticket, key, b, id)
    if not id then -- unknowable: a cache may lose a key, so take it away and decide anew
        if not t:retry(M.remove_key(key, b), p, ticket) then return nil end
        return t:ask(q, p)
    end
    local seen = t:retry(M.request("mg " .. key .. b .. " v c u"), p, ticket)
    if not seen then return nil end
    if M.id_of(seen) == id then return seen, true end
    return t:ask(q, p)
end

-- a copy of the version that authority p had; there is none where p's was stale, because stale items are not copied
local function copy_of(seen, p)
    local id = id_at(seen[p])
    for x, res in pairs(seen) do
        if id and x ~= p and id_at(res) == id and not string.find(res:line(), " X") then return res end
    end
end

-- sends the command to authority p, and the looks around it, in one go. No mg behind a command that counts: if its answer
-- is a CLIENT_ERROR, that of the mg is lost with the connection, and the token that it took from a client too.
local function together(t, q, p, list, key, b, how)
    local looks, counts, cmd, item, after = {}, how.fresh == "number", nil, nil, nil
    if #list > 1 then
        local look = M.ask_id(key, b) -- one for all: a request takes some kilobytes
        local others = counts and M.ask_counter(key, b) or look
        for i = 1, #list do
            local x = list[i]
            if t:clean(x) then looks[x] = t:send(x == p and look or others, x) end
        end
    end
    cmd = t:send(q, p)
    if how.fresh == "item" then item = t:send(M.ask_item(key, b), p)
    elseif counts then after = t:send(M.ask_id(key, b), p) end
    t:wait()
    local seen = {}
    for x, ticket in pairs(looks) do
        seen[x] = t:got(ticket)
        if x ~= p and (counts or b ~= "") then t:give_back(seen[x], x, key, b) end -- `me` takes no token
    end
    if item then
        local res = t:got(item)
        t:give_back(res, p, key, b)
        return cmd, seen, M.item(res)
    end
    local copy = after and copy_of(seen, p)
    return cmd, seen, copy and M.counted(t:got(cmd), t:got(after), copy, how.id)
end

-- runs q at the key's authority. how: id = the cas id that q carries, if any; once = true if q must not run twice; fresh =
-- "item" if the item as it is afterwards is wanted, "number" if q is a `ma .. v t`. -> nil if no server answers; nil, true
-- if the outcome can't be known; else { res, p = the authority, seen = what servers held before, by server, fresh = that
-- item, where it was seen on the way, done = true if res is that of `mg key v c u` }
function Copies:decide(q, list, key, b, how)
    local p = self:lead(list)
    if not p then return nil end
    local cmd, seen, fresh = together(self, q, p, list, key, b, how)
    local res, done = self:got(cmd), nil
    if not res then
        fresh = nil
        if how.once then res, done = resume(self, q, p, cmd, key, b, how.id) else res = self:retry(q, p, cmd) end
    end
    while not res do
        self.dead[p] = true
        self:owe(p, key, b) -- it may have run there, or run yet
        p = self:lead(list)
        if not p then return nil end
        local now = self:ask(M.ask_id(key, b), p)
        -- somebody went on, from what the lost server did for us or without it: it can't be told
        if now and seen[p] and id_at(now) ~= id_at(seen[p]) then return nil, true end
        seen[p] = now
        res = now and self:ask(q, p)
    end
    return { res = res, p = p, seen = seen, fresh = fresh, done = done }
end

-- res: what server x answered to a look of ours. A stale item's token is a client's.
function Copies:give_back(res, x, key, b)
    local q = M.give_back(res, key, b)
    if q then self:ask(q, x) end
end

-- sends the new version to the copies in `pending` -> those that refused it, those that had nothing before
local function offer(t, key, b, pending, condition, make)
    local tickets, made, refused, added = {}, {}, {}, {}
    for _, x in ipairs(pending) do
        local c = condition[x]
        made[c] = made[c] or make(c)
        tickets[x] = t:send(made[c], x)
    end
    t:wait()
    for _, x in ipairs(pending) do
        local q = made[condition[x]]
        local res = tickets[x] and (t:got(tickets[x]) or t:retry(q, x, tickets[x]))
        if not res then t:owe(x, key, b)
        elseif res:ok() and res:code() == mcp.MCMC_CODE_OK then
            if condition[x] == " ME" then added[#added + 1] = x end
        else refused[#refused + 1] = x end -- one that is being repaired too: else it keeps what it has once it is trusted
    end
    return refused, added
end

local function remove_from(t, q, servers, key, b)
    if #servers > 0 then t:all(q, servers, nil, key, b) end
end

-- version id, which authority p holds in place of version `old` (false: of nothing, nil: unknown), goes to the others.
-- make: condition -> request. -> false if p has lost the lead meanwhile: then decide again.
function Copies:spread(key, b, p, list, id, old, make)
    local pending, condition = {}, {}
    for i = 1, #list do
        local x = list[i]
        if x ~= p and not self.dead[x] then pending[#pending + 1] = x end
        if x ~= p and self.dead[x] then self:owe(x, key, b) end
        condition[x] = old and " C" .. old or " ME"
    end
    for _ = 1, ROUNDS do
        local refused, added = offer(self, key, b, pending, condition, make)
        if #refused == 0 and #added == 0 then return true end
        if not self:leads(p, list) then return false end
        local tickets = {}
        for _, x in ipairs(refused) do tickets[x] = self:send(M.ask_id(key, b), x) end
        local now = self:ask(M.ask_id(key, b), p)
        if not now or not now:hit() and #refused > 0 and self.V and self:hollow(p) then -- p is gone, so nobody can say
            self:owe(p, key, b)
            -- whatever was on its way arrives in GRACE, before anybody uses the next authority: who refuses then is beside us
            self.rctx:sleep(M.GRACE / 1000)
            for _, x in ipairs(refused) do condition[x] = old and " C" .. old or " ME" end
            remove_from(self, M.remove_key(key, b), (offer(self, key, b, refused, condition, make)), key, b)
            return true
        end
        if id_at(now) ~= id then -- a newer write or a removal: theirs is what counts
            remove_from(self, M.remove_id(key, b, id), added, key, b)
            return true
        end
        if #refused == 0 then return true end
        pending = refused
        for _, x in ipairs(refused) do
            local there = id_at(self:got(tickets[x]))
            condition[x] = there and " C" .. there or " ME"
        end
    end
    remove_from(self, M.remove_key(key, b), pending, key, b)
    return true
end

-- authority p has removed the key, and copies in `left` hold something else than was seen there: what p decided before may only
-- now have reached them. What a copy had before p has nothing is what p had before.
local function purge(t, key, b, p, left)
    for _ = 1, ROUNDS do
        if #left == 0 then return end
        local looks, removals, again = {}, {}, {}
        for _, x in ipairs(left) do looks[x] = t:send(M.ask_id(key, b), x) end
        t:wait()
        local now = t:ask(M.ask_id(key, b), p)
        if now and now:hit() then return end -- written anew: whoever did that sees to the copies
        for _, x in ipairs(left) do
            local there = id_at(t:got(looks[x]))
            removals[x] = there and t:send(M.remove_id(key, b, there), x)
        end
        t:wait()
        for _, x in ipairs(left) do
            local res = removals[x] and t:got(removals[x])
            if removals[x] and not (res and res:code() ~= mcp.MCMC_CODE_EXISTS) then again[#again + 1] = x end
        end
        left = again
    end
    remove_from(t, M.remove_key(key, b), left, key, b)
end

-- authority p has removed the key: the versions that were seen anywhere go from all others too, by id, so that nobody's
-- new item is hit; p's last, because it followed upon the others. seen: looks before, by server. -> did another server still have it?
function Copies:erase(key, b, p, list, seen)
    local ids, had, left, answers = {}, id_at(seen[p]), {}, {}
    for i = 1, #list do
        local id = id_at(seen[list[i]])
        if id and id ~= had and not ids[id] then
            ids[id] = true
            ids[#ids + 1] = id
        end
    end
    local elsewhere = #ids > 0
    if not had and elsewhere and self.V then self.rctx:sleep(1.5 * M.DELTA / 1000) end -- a repair may be on its way
    if had then ids[math.min(#ids, 2) + 1] = had end
    for i = 1, math.min(#ids, 3) do answers = self:all(M.remove_id(key, b, ids[i]), list, had and p or nil, key, b) end
    for i = 1, #list do
        local x = list[i]
        if x ~= p and answers[x] and answers[x]:code() == mcp.MCMC_CODE_EXISTS then left[#left + 1] = x end
    end
    purge(self, key, b, p, left)
    self:all(M.remove_key(key, b), self:unseen(list, seen), p, key, b) -- dirty ones: nobody reads what is new there
    return not had and elsewhere
end

-- the servers of the list that were not looked at
function Copies:unseen(list, seen)
    local rest = {}
    for i = 1, #list do
        if not seen[list[i]] then rest[#rest + 1] = list[i] end
    end
    return rest
end

-- Versions: a write is decided at the authority under one cas id, and its outcome spread to the copies. Worker VM.
-- A copy is overwritten only where it still holds the version that the authority held before (C<id>), so a late or doubled
-- message can never undo a newer write. Where it held another, the version before is noted there as passed: who has lost
-- its answer finds out that it was done. Does not know commands (coherent.lua).
local Copies = M.Copies
local match, format = string.match, string.format
local mono, id_at = mcp.time_mono_millis, M.id_at

local ROUNDS <const> = 3 -- a copy that others write at the same time is tried so often, then taken away; each takes two handles
local LIFE <const> = 3 -- seconds that a note stays: longer than an answer can be waited for

-- a copy of the version that authority p had; there is none where p's was stale, because stale items are not copied
local function copy_of(seen, p)
    local id = id_at(seen[p])
    for x, res in pairs(seen) do
        if id and x ~= p and M.is_version(res, id) then return res end
    end
end

-- sends the command to authority p, and the looks around it, in one go -> `tried`, as below. No mg behind a command that counts: if its answer
-- is a CLIENT_ERROR, that of the mg is lost with the connection, and the token that it took from a client too.
local function together(t, q, p, list, key, b, how)
    local looks, counts, item, after = {}, how.fresh == "number", nil, nil
    local tried = { p = p, start = mono(), seen = {} }
    if #list > 1 then
        local look = M.ask_id(key, b) -- one for all: a request takes some kilobytes
        local others = counts and M.ask_counter(key, b) or look
        for i = 1, #list do
            local x = list[i]
            if (x == p or not how.sure) and t:takes(x) then looks[x] = t:send(x == p and look or others, x) end
        end
    end
    how.sent = M.sends()
    tried.cmd = t:send(q, p)
    local stamp = how.stamps and t:send(M.stamp(key, b, how.id), p)
    if how.fresh == "item" then item = t:send(M.ask_item(key, b), p)
    elseif counts then after = t:send(M.ask_id(key, b), p) end
    t:wait()
    local seen = tried.seen
    for x, ticket in pairs(looks) do
        seen[x] = t:got(ticket)
        if x ~= p and t:hangs(ticket, x) then t:owe(x, key, b) end
        if x ~= p and (counts or b ~= "") then t:give_back(seen[x], x, key, b) end -- `me` takes no token
    end
    if item then
        local res = t:got(item)
        t:give_back(res, p, key, b)
        tried.fresh = M.item(res)
    end
    local copy = after and copy_of(seen, p)
    tried.fresh = tried.fresh or copy and M.counted(t:got(stamp), t:got(after), copy, how.id)
    return tried
end

-- q has no id and must not run twice: is what p holds still what it held before? nil if that is not known
local function untouched(t, p, key, b, before)
    local now = t:ask(M.ask_id(key, b), p)
    if not now or not before or not before[p] then return nil end
    return id_at(now) == id_at(before[p])
end

-- who is to decide, once it is known whether what is in doubt was done -> the authority, or nil and what `decide` returns
local function ready(t, list, key, b, how, before)
    local mine = how.doubt
    if mine and not mine.id and t:lead(list, mine) then t:go_behind(key .. b, how.sent) end -- by now they know that they are in doubt
    local p, done, value, last, later = t:lead(list, mine), nil, nil, nil, nil
    if not p then return nil end
    while mine and mine.id and done == nil do
        done, value, last, later = t:resolve(p, list, key, b, mine)
        if done == nil then
            if t.used_up then return nil end
            t:owe(p, key, b)
            p = t:lead(list, mine)
            if not p then return nil end
        end
    end
    if mine and mine.id then
        if done and later and not (value or mine.sure) then return nil, nil, true end
        if done then
            if mine.old then -- whose version ours was built upon may not have his answer either
                t:witness({ id = mine.old, value = (M.before(value, mine.delta) or "") .. "\r\n" }, p, list)
                t:wait()
            end
            return nil, { done = true, value = value, p = p, seen = {}, last = last }
        end
        mine.void = true
    elseif mine and how.once then
        local same = untouched(t, p, key, b, before)
        if same == false then return nil, nil, true end
        if same == nil then t:ask(M.remove_key(key, b), p) end -- a cache may lose a key
    end
    how.doubt = nil
    return not (mine and t:has_left()) and p or nil
end

-- was it done? -> as `decide`, or nil: it is in doubt, or was not. tried: when it was sent, to whom, and what was heard.
local function outcome(t, tried, list, key, b, how)
    local p, cmd = tried.p, tried.cmd
    local res = t:got(cmd)
    local late = res and #list > 1 and t.V and tried.start + res:elapsed() / 1000 >= t.limit -- the looks may have taken longer
    if res and not late then return { res = res, p = p, seen = tried.seen, fresh = tried.fresh } end
    t:doubt(how, key .. b) -- before anything is waited for: other requests want to know
    how.doubt.old = id_at(tried.seen[p])
    if late and t:counts(p, list) then
        t.doubtful = false
        return { res = res, p = p, seen = tried.seen, fresh = tried.fresh }
    end
    if not res and not t:retry(M.ask_id(key, b), p, cmd) then
        t.dead[p] = true
        if not t.used_up or t:known_lost(p) then t:owe(p, key, b) end -- it may have run there, or run yet
    elseif not res and #list > 1 then
        t.rctx:sleep(M.GRACE / 1000) -- who wrote upon it may be about to note that
    end
end

-- the request has used up its handles. The authority that it sent the command to last may have done it: if that is not lost, the
-- others are owed it.
local function abandon(t, list, key, b, how)
    for i = 1, t:known_lost(how.at) and 0 or #list do
        local x = list[i]
        if x ~= how.at and not (how.placed and how.placed[x]) then t:owe(x, key, b) end
    end
end

-- runs q at the key's authority. how: id = the cas id that q carries, if any; once = true if q has none and must not run
-- twice; sure = true if q can't be refused; fresh = "item" if the item as it is afterwards is wanted, "number" if q is a
-- `ma .. v t`; stamps = true if q is a `ma` that nothing but a missing key refuses; delta = what q adds; tried = what the short way
-- has sent (usual.lua).
-- -> nil if no server answers; nil, true if the outcome can't be known; else { res, p = the authority, seen = what servers
-- held before, by server, fresh = that item, where it was seen on the way }, or, where the answer was lost,
-- { done = true, value, p, seen = {}, last = it is what p has }
function Copies:decide(q, list, key, b, how)
    local before
    local tried = how.tried
    if tried then
        how.tried, self.limit, self.turns = nil, tried.limit, tried.turns
        tried.seen = { [tried.p] = self:got(tried.look) }
    end
    while true do
        if not tried then
            local p, did, unknown = ready(self, list, key, b, how, before)
            if not p then
                if self.used_up and how.at and not did then abandon(self, list, key, b, how) end
                return did, unknown
            end
            tried = together(self, q, p, list, key, b, how)
        end
        how.at = tried.p
        local did = outcome(self, tried, list, key, b, how)
        if did then return did end
        before, tried = before or tried.seen, nil
    end
end

-- res: what server x answered to a look of ours. A stale item's token is a client's.
function Copies:give_back(res, x, key, b)
    local q = M.give_back(res, key, b)
    if q then self:ask(q, x) end
end

-- sends the new version to the copies in `pending` -> those that refused it, those that had nothing before
local function offer(t, key, b, pending, condition, version)
    local tickets, made, refused, added = {}, {}, {}, {}
    for _, x in ipairs(pending) do
        local c = condition[x]
        made[c] = made[c] or version.make(c)
        tickets[x] = t:send(made[c], x)
    end
    t:wait()
    for _, x in ipairs(pending) do
        local q = made[condition[x]]
        local res = tickets[x] and (t:got(tickets[x]) or t:retry(q, x, tickets[x]))
        if not res then t:owe(x, key, b)
        elseif res:ok() and res:code() == mcp.MCMC_CODE_OK then
            if version.placed then version.placed[x] = true end
            if condition[x] == " ME" then added[#added + 1] = x end
        else refused[#refused + 1] = x end -- one that is being repaired too: else it keeps what it has once it is trusted
    end
    return refused, added
end

local function remove_from(t, q, servers, key, b)
    if #servers > 0 then t:all(q, servers, nil, key, b) end
end

-- version `id` was built upon another than servers `refused` hold: notes that one there, and its number if known
local function note(t, id, value, servers)
    if not id or #servers == 0 then return end
    value = value or ""
    local q = M.request(format("ms %s%s %d T%d", M.PASSED, id, #value, LIFE), value .. "\r\n")
    for _, x in ipairs(servers) do t:send(q, x) end
end

-- p has what another has written, and we are to spread it: he may not have had his answer, so it is noted that it is done
function Copies:witness(item, p, list)
    local others = {}
    for _, x in ipairs(list) do
        if x ~= p and self:takes(x) then others[#others + 1] = x end
    end
    note(self, item.id, match(item.value, "^(%d+)\r\n$"), others)
end

local function is_hit(t, ticket)
    local res = t:got(ticket)
    return res and res:ok() and res:hit()
end

-- the authority is gone, and `refused` hold something else than it held: what was on its way arrives in GRACE, before
-- anybody uses the next authority. Who still has what ours was built upon gets it. Who lost what it had lost it after us. Who has
-- something newer has a note of ours, or else may have something older: that is taken away everywhere. Who had nothing has it in vain if
-- it was removed before it came.
local function without_authority(t, key, b, p, list, version, refused, added)
    t.rctx:sleep(M.GRACE / 1000)
    local condition, passed, older, vain, unclear = {}, {}, {}, {}, {}
    local q = M.request("mg " .. M.PASSED .. version.id)
    for _, x in ipairs(refused) do passed[x] = t:send(q, x) end
    for _, x in ipairs(added) do passed[x] = t:send(q, x) end
    local tickets = {}
    for _, x in ipairs(refused) do tickets[x] = t:send(M.ask_id(key, b), x) end
    t:wait()
    for _, x in ipairs(refused) do
        local there = id_at(t:got(tickets[x]))
        if not is_hit(t, passed[x]) then
            if (there or false) == (version.old or false) then
                older[#older + 1], condition[x] = x, there and " C" .. there or " ME"
            elseif there then unclear[#unclear + 1] = there end
        end
    end
    for _, x in ipairs(added) do
        if is_hit(t, passed[x]) then vain[#vain + 1] = x end
    end
    remove_from(t, M.remove_id(key, b, version.id), vain, key, b)
    for _, there in ipairs(unclear) do t:all(M.remove_id(key, b, there), list, p, key, b) end
    remove_from(t, M.remove_key(key, b), (offer(t, key, b, older, condition, version)), key, b)
end

-- authority p has removed the key, and copies in `left` have something else than was seen there: what p decided before may only
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
            if removals[x] and not (res and res:ok() and res:code() ~= mcp.MCMC_CODE_EXISTS) then again[#again + 1] = x end
        end
        left = again
    end
    remove_from(t, M.remove_key(key, b), left, key, b)
end

-- those of `servers` that hold something else than the version which `answers` tell the removal of
local function holding_others(servers, answers)
    local left = {}
    for _, x in ipairs(servers) do
        if answers[x] and answers[x]:code() == mcp.MCMC_CODE_EXISTS then left[#left + 1] = x end
    end
    return left
end

-- servers in `added`, which had nothing, got version `id`, that p does not hold any more: it goes again. What was put upon it meanwhile
-- came late too if p has nothing: who removed that from p may have been there before both.
local function take_back(t, key, b, p, id, added)
    if #added == 0 then return end
    purge(t, key, b, p, holding_others(added, t:all(M.remove_id(key, b, id), added, nil, key, b)))
end

-- version { id, old, make, number, placed }, which authority p holds in place of version `old` (false: of nothing, nil: unknown),
-- goes to the others. make: condition -> request; number: what `old` was, if known; placed: notes who took it, if given.
-- -> false if p may have lost the lead meanwhile: then decide again.
function Copies:spread(key, b, p, list, version)
    local pending, condition, id, old, newer = {}, {}, version.id, version.old, false
    for i = 1, #list do
        local x = list[i]
        if x ~= p and not self.dead[x] then pending[#pending + 1] = x end
        if x ~= p and self.dead[x] then self:owe(x, key, b) end
        condition[x] = old and " C" .. old or " ME"
    end
    for round = 1, ROUNDS do
        local refused, added = offer(self, key, b, pending, condition, version)
        if #refused == 0 and #added == 0 then return true end
        if not self:counts(p, list) then return false end
        local tickets = {}
        if round == 1 then note(self, old, version.number, refused) end
        for _, x in ipairs(refused) do tickets[x] = self:send(M.ask_id(key, b), x) end
        local now = self:ask(M.ask_id(key, b), p)
        local gone = not now
        gone = gone or not now:hit() and self:emptied(p)
        if self.dead[p] then self:owe(p, key, b) end
        if gone then
            without_authority(self, key, b, p, list, version, refused, added)
            return true
        end
        local held = id_at(now)
        newer = held ~= id -- or a removal: what others did upon ours is what counts
        if newer then take_back(self, key, b, p, id, added) end
        if newer and not (held and old) then return true end
        pending = {}
        for _, x in ipairs(refused) do
            local there = id_at(self:got(tickets[x]))
            -- who is newer may lose his answer, and begin upon what a copy has: that must not be what ours was built upon
            if there ~= id and (not newer or there ~= held) then pending[#pending + 1] = x end
            local upon = newer and old or there
            condition[x] = upon and " C" .. upon or " ME"
        end
        if #pending == 0 then return true end
    end
    if not newer then remove_from(self, M.remove_key(key, b), pending, key, b) end
    return true
end

-- authority p has removed the key: the versions that were seen anywhere go from all others too, by id, so that nobody's
-- new item is hit; p's last, as it follows upon the others. seen: looks before, by server
function Copies:erase(key, b, p, list, seen)
    local ids, had, behind, left, answers = {}, id_at(seen[p]), {}, {}, {}
    for i = 1, #list do
        local x = list[i]
        local id = id_at(seen[x])
        if id and not had and x ~= p then left[#left + 1] = x end -- it came after ours to p, or did not go with what went from p
        if id and had and id ~= had and not ids[id] then
            ids[id] = true
            ids[#ids + 1] = id
        end
        if seen[x] and id ~= had then behind[#behind + 1] = x end
    end
    note(self, had, nil, behind)
    for i = 1, math.min(#ids, 2) do answers = self:all(M.remove_id(key, b, ids[i]), list, p, key, b) end
    if had then answers = self:all(M.remove_id(key, b, had), list, p, key, b) end
    for _, x in ipairs(holding_others(list, answers)) do left[#left + 1] = x end
    purge(self, key, b, p, left)
    self:all(M.remove_key(key, b), self:unseen(list, seen), p, key, b)
end

-- the servers of the list that were not looked at
function Copies:unseen(list, seen)
    local rest = {}
    for i = 1, #list do
        if not seen[list[i]] then rest[#rest + 1] = list[i] end
    end
    return rest
end

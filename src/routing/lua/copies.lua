-- What one request can do with the servers of its key: ask one, ask all, put an item back, drop what is outdated.
-- Worker VM. Does not know commands (coherent.lua and fastest.lua say what to do when).
--
-- A handle can be used once in a request (waiting on it a second time hangs the client for ever), so every role below
-- has its own on every server. Roles of one request never collide, because each step names a server it has not used.
-- What is queued together leaves in the order of the handles: `look` comes first, to see a server before the command.
local ROLES = { "look", "cmd", "try1", "try2", "try3", "put", "check", "copy", "drop", "last", "again", "fresh" }
local ALONE = { cmd = true, try1 = true, try2 = true, try3 = true } -- suffice where a key has one copy

-- A CLIENT_ERROR in answer to anybody's request resets the connection that all requests of the worker share, and they
-- fail at once. So a quick failure is tried again, a slow one (the server hangs) is not. Microseconds.
local QUICK <const> = M.TIMEOUT * 800000
local ANY = mcp.WAIT_ANY

local Copies = {}
Copies.__index = Copies

-- did the server answer at all? (SERVER_ERROR and CLIENT_ERROR from it are answers)
local function answered(res) return res and (res:ok() or res:raw_string() ~= nil) end

-- it failed: three more tries if that was quick, then it counts as dead for the rest of this request
function Copies:retry(q, x, res)
    self.hurt = true
    local n = self.tries[x] or 0
    while res and n < 3 and res:elapsed() < QUICK do
        n = n + 1
        self.tries[x] = n
        res = self.rctx:enqueue_and_wait(q, self.H["try" .. n][x])
        if answered(res) then return res end
    end
    self.dead[x] = true
end

-- the answer of server x, or nil
function Copies:ask(q, x, role)
    if self.dead[x] then return nil end
    local res = self.rctx:enqueue_and_wait(q, self.H[role][x])
    if answered(res) then return res end
    return self:retry(q, x, res)
end

-- asks all servers of `list` but `skip` at once -> answers by server; `extra` requests of the caller's are waited for too
function Copies:all(q, role, list, skip, extra)
    local rctx, handles, sent, count = self.rctx, self.H[role], {}, extra or 0
    for i = 1, #list do
        local x = list[i]
        if x ~= skip and not self.dead[x] then
            rctx:enqueue(q, handles[x])
            sent[#sent + 1] = x
        end
    end
    count = count + #sent
    if count > 0 then rctx:wait_cond(count, ANY) end
    local answers = {}
    for i = 1, #sent do
        local x = sent[i]
        local res = rctx:result(handles[x])
        answers[x] = answered(res) and res or self:retry(q, x, res)
    end
    return answers
end

-- the first server in key order that answers -> its answer, its number
function Copies:first(q, list)
    for i = 1, #list do
        local res = self:ask(q, list[i], "cmd")
        if res then return res, list[i] end
    end
end

-- as `first` for a command that must not run twice: after a quick failure, the cas id tells whether it ran.
-- A third value is true when it did and the answer is that of `mg key v c u`. sent: the first server has it already.
function Copies:once(q, list, key, b, id, sent)
    for i = 1, #list do
        local x = list[i]
        local handle = self.H.cmd[x]
        local res = i == 1 and sent and self.rctx:result(handle) or self.rctx:enqueue_and_wait(q, handle)
        if answered(res) then return res, x end
        if not id then -- unknowable: a cache may lose a key, so take it away and decide anew
            if self:retry(M.remove_key(key, b), x, res) then res = self:retry(q, x, res) else res = nil end
            if res then return res, x end
        else
            local seen = self:retry(M.request("mg " .. key .. b .. " v c u"), x, res)
            if seen and M.id_of(seen) == id then return seen, x, true end
            res = seen and self:retry(q, x, seen)
            if res then return res, x end
        end
        self.dead[x] = true
    end
end

-- server p misses the key: put back what another copy has -> true if p may now have it, and a server that has it, be it
-- an item which can't be copied. Afterwards the source is asked again: if it no longer has that version, a newer write or
-- a removal has passed us and ours is taken back.
function Copies:restore(key, b, p, list, found)
    found = found or self:all(M.ask_item(key, b), "look", list, p)
    local other
    for i = 1, #list do
        local x = list[i]
        local item = x ~= p and M.item(found[x])
        if item then
            self:ask(M.put_item(key, b, item, item.ttl), p, "put")
            local now = self:ask(M.ask_id(key, b), x, "check")
            if now and M.id_of(now) ~= item.id then self:ask(M.remove_id(key, b, item.id), p, "drop") end
            return true, x
        elseif x ~= p and found[x] and found[x]:hit() then
            other = other or x
        end
    end
    return false, other
end

-- as `once` for a command that creates what is missing: the copies are looked at on the way. If the authority had lost
-- the item and they have it, what the command made is undone, the item put back, and the command decides again.
-- Not by a look before the command: a read that the client sent behind it would overtake it.
function Copies:create(q, list, key, b, id)
    local rctx, look, found = self.rctx, self.H.look, {}
    for i = 1, #list do rctx:enqueue((i == 1 and M.ask_id or M.ask_item)(key, b), look[list[i]]) end
    rctx:enqueue(q, self.H.cmd[list[1]])
    rctx:wait_cond(#list + 1, ANY) -- not one by one: an answer that fails meanwhile can't be waited for any more
    local res, p, done = self:once(q, list, key, b, id, true)
    for i = 1, #list do
        local x = list[i]
        local seen = rctx:result(look[x])
        found[x] = answered(seen) and seen or nil
    end
    if not res or done or not res:ok() or not found[p] or found[p]:hit() then return res, p, done end
    for i = 1, #list do
        if M.item(found[list[i]]) then
            self:ask(id and M.remove_id(key, b, id) or M.remove_key(key, b), p, "last")
            self:restore(key, b, p, list, found)
            return self:ask(q, p, "again") or res, p
        end
    end
    return res, p
end

-- takes the key away on every server at once -> the answers. The ids that were there are removed once more by id, for a
-- copy or a repair that was on its way; without the id that could hit another client's new item.
function Copies:erase(q, key, b, list)
    local rctx, look, ids = self.rctx, self.H.look, {}
    for i = 1, #list do rctx:enqueue(M.ask_id(key, b), look[list[i]]) end
    local answers = self:all(q, "cmd", list, nil, #list)
    for i = 1, #list do
        local seen = rctx:result(look[list[i]])
        local id = answered(seen) and M.id_of(seen)
        if id and id ~= ids[1] and #ids < 2 then ids[#ids + 1] = id end
    end
    if ids[1] then self:all(M.remove_id(key, b, ids[1]), "drop", list) end
    if ids[2] then self:all(M.remove_id(key, b, ids[2]), "last", list) end
    return answers
end

-- the copies carry version `id`; if the authority p no longer does, drop them again
function Copies:confirm(key, b, p, list, id, role)
    local now = self:ask(M.ask_id(key, b), p, "check")
    if now and M.id_of(now) ~= id then self:all(M.remove_id(key, b, id), role, list, p) end
end

-- p has changed the item in a way that only p knows: drop the copies and, if it can be, write the new item to them
function Copies:publish(key, b, p, list, copy)
    if copy then self.rctx:enqueue(M.ask_item(key, b), self.H.fresh[p]) end
    self:all(M.remove_key(key, b), "drop", list, p, copy and 1)
    if not copy then return end
    local fresh = self.rctx:result(self.H.fresh[p])
    local item = M.item(fresh)
    if not item then
        -- an item that stayed stale: our look took the token of the client that is to refresh it; give it back, same id
        local line = fresh and fresh:hit() and " " .. (fresh:line() or "") or ""
        local won = string.find(line, " W") and string.match(line, " c(%d+)")
        if won then self:ask(M.request("md " .. key .. b .. " I C" .. won .. " E" .. won), p, "put") end
    else
        self:all(M.put_item(key, b, item, item.ttl), "copy", list, p)
        self:confirm(key, b, p, list, item.id, "last")
    end
end

-- one route over `pools`, numbered as order.lua does. commands: class -> function(t, r, cmd, key, list), t as above.
-- Called once a reload.
function M.copies(pools, order, copies, commands, name)
    local fgen, H = mcp.funcgen_new(), {}
    for _, role in ipairs(ROLES) do
        if copies > 1 or ALONE[role] then
            H[role] = {}
            for x, pool in ipairs(pools) do H[role][x] = fgen:new_handle(pool) end
        end
    end
    local replies = M.replies()
    fgen:ready({ n = name, u = 1, f = function(rctx)
        local t = { rctx = rctx, H = H, replies = replies, out = rctx:response_new(), dead = {}, tries = {} }
        setmetatable(t, Copies)
        return function(r)
            if t.hurt then t.dead, t.tries, t.hurt = {}, {}, nil end -- of the request before
            local cmd, key = r:command(), r:key()
            return commands[M.class(r, cmd)](t, r, cmd, key, order(key))
        end
    end })
    return fgen
end

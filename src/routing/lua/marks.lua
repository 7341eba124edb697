-- Dirty marks: a server that this proxy can't reach, and the writes that it is owed. Worker VM.
-- The mark is appended to the view on Q at once (append needs no cas, so nobody's mark is lost); the write that found the
-- server missing is acknowledged when the mark is in force. The owner alone takes it away, when it owes nothing any more
-- (repair.lua); lease.lua keeps what stands in Q equal to what is wanted here. Nothing is ever flushed.
local format = string.format
local mono = mcp.time_mono_millis
local FORCE <const> = M.FORCE
local Copies = M.Copies

-- Keys that one proxy remembers to be owed by one server: some 100 bytes each, so 2 MB. With more it leaves the server to a
-- controller, which compares everything: it takes this proxy's mark away before it begins (lease.lua sees that).
local LIMIT <const> = 20000

function Copies:known_lost(x) return self.V and self.servers[x].lost and not self.servers[x].ready end

-- appends marks to every member of Q but x -> how many took them
local function post(t, x, marks)
    local text, tickets, took = "", {}, 0
    for _, mark in ipairs(marks) do
        text = text .. " " .. M.mark_text(mark)
        t.V.known[M.mark_name(mark)] = mark
    end
    local q = M.request(format("ms %s %d MA N0", M.VIEW, #text), text .. "\r\n")
    for _, y in ipairs(t.q) do
        if y ~= x and not t.dead[y] then tickets[#tickets + 1] = t:send(q, y) end
    end
    t:wait()
    for _, ticket in ipairs(tickets) do
        local res = t:got(ticket)
        if res and res:ok() and res:code() == mcp.MCMC_CODE_OK then took = took + 1 end
    end
    return took
end

local function copied(t)
    local ring = t.memory.next or t.memory.ring
    return ring.R > 1 or ring.R == 0 and t.several or ring.before
end

-- do others have what regular server x lost when it was emptied?
local function backed(t, x) return copied(t) and x <= (t.regulars or x) end

-- can anybody have a newer item than x has? Not while a key is on one server only.
function Copies:has_copies() return copied(self) end

-- marks x, and has every request from now on wait until everybody knows. again: `unposted`
local function distrust(t, x, bad, marks, again)
    local rec = t.servers[x]
    local worse, turns = bad > rec.bad, rec.bad == 0
    if worse then t:change(rec, bad) end
    local took = post(t, x, marks)
    if t.used_up then t.V.unposted[x] = marks end -- the next request has to do it
    rec.force = mono() + FORCE + t:found_later(took) -- the lease counts from when the mark stands
    if worse or again then rec.till = math.max(rec.till, rec.force) end
    if turns or again then rec.turned = math.max(rec.turned, rec.force) end
end

-- posts what requests could not that had used up their handles
function Copies:post_again()
    local unposted = self.V.unposted
    local x, marks = next(unposted)
    while x and not self.used_up do
        unposted[x] = nil
        distrust(self, x, self.servers[x].bad, marks, true)
        x, marks = next(unposted)
    end
end

-- x did not answer. From now on this proxy owns a mark; others stop trusting x within a lease.
function Copies:lose(x)
    local V = self.V
    local rec = V and self:has_copies() and self.servers[x]
    if not rec then return end
    rec.back = nil
    if rec.lost and not rec.ready then return end
    if not rec.lost then V.tends = V.tends + 1 end
    rec.lost, rec.ready = not rec.ready and rec.lost or mono(), nil
    rec.probed = mono() + M.TIMEOUT * 1000 -- so long memcached tries to connect anew; what is asked meanwhile waits for that
    rec.force, V.losses = mono() + FORCE, math.max(V.losses + 1, mcp.time_real_millis())
    rec.owner = format("%sn%x", V.me, V.losses)
    distrust(self, x, M.stale(V.losses), { { state = "d", server = rec.name, owner = rec.owner } })
end

-- the request whose miss says that x has been emptied, or emptied once more
function Copies:ask_whole(x) return M.request("mg " .. (self.servers[x].emptied and M.NOTED or M.WHOLE) .. " v") end

-- x has been emptied. It is marked: it takes writes, and is not read. Not where nobody else has its keys.
function Copies:mark_emptied(x)
    local rec, now = self.servers[x], mcp.time_real_millis()
    if not backed(self, x) then return end
    -- the second one tells since when; it is `r`, because nobody owes anything for it
    local marks = { { state = "d", server = rec.name, owner = "all" }, { state = "r", server = rec.name, owner = format("e%x", now) } }
    rec.all, rec.emptied = marks, now
    self:try(M.request("ms " .. M.NOTED .. " 1", "1\r\n"), x)
    distrust(self, x, M.hollow(now), marks)
end

-- a key is missing on authority x: has x been emptied since that was last found out, or does it no longer answer? -> true if
-- so: ask `lead` again; else false, and true if x has started anew
function Copies:emptied(x)
    local rec = self.servers[x]
    if not self.V or not backed(self, x) then return false end
    if rec.turns ~= self.turns then return true end -- another request has just found out
    local res = self:ask(self:ask_whole(x), x)
    if not res then return true end
    if not res:ok() or res:hit() then return false, res:raw_string() == "VA 1\r\n2\r\n" end
    self:mark_emptied(x)
    return true
end

-- Nobody is whole any more, and for a while the copies had all that was read: then all lead again, without ever having been filled.
-- What one of them lacks is lost (`give_up`).
function Copies:start_anew()
    local V, regulars = self.V, self.regulars or #self.servers
    if V.every < M.SELDOM or mono() - V.gap < M.QUIET then return end
    for x = 1, regulars do
        if not self.servers[x].emptied or self.servers[x].bad >= 2 then return end
    end
    for x = 1, regulars do
        local rec = self.servers[x]
        self:send(M.request("ms " .. M.WHOLE .. " 1", "2\r\n"), x)
        rec.all = { { state = "r", server = rec.name, owner = "all" } }
    end
    self:wait()
end

-- x has missed a write of this key
function Copies:owe(x, key, b)
    local V = self.V
    local rec = V and self:has_copies() and self.servers[x]
    if not rec then return end
    self:lose(x)
    self.missed, self.hurt = self.missed or {}, true
    self.missed[rec] = true
    if rec.too_many then return end
    local name = key .. b
    if not rec.owed[name] then rec.owing = rec.owing + 1 end
    rec.owed[name] = true
    if rec.owing > LIMIT then rec.too_many, rec.owed, rec.owing = mono(), {}, 0 end
end

-- waits until the marks of all servers that this request missed are in force
function Copies:in_force()
    for rec in pairs(self.missed or {}) do
        while not self.used_up do
            self:post_again()
            local left = rec.force - mono()
            if left <= 0 then break end
            self.rctx:sleep(left / 1000)
        end
    end
end

-- Dirty marks: a server that this proxy can't reach, and the writes that it is owed. Worker VM.
-- The mark is appended to the view on Q at once (append needs no cas, so nobody's mark is lost); the write that found the
-- server missing is acknowledged when the mark is in force. The owner alone takes it away, when it owes nothing any more
-- (repair.lua); lease.lua keeps what stands in Q equal to what is wanted here. Nothing is ever flushed.
local format = string.format
local mono = mcp.time_mono_millis
local FORCE <const> = M.FORCE
local Copies = M.Copies

-- Keys that one proxy remembers to be owed by one server: some 100 bytes each, so 2 MB. With more the server needs
-- somebody who compares everything: owner "all".
local LIMIT <const> = 20000

function Copies:known_lost(x)
    local rec = self.V and self.servers[x]
    return rec and rec.lost and not rec.ready
end

-- appends marks to every member of Q but x
local function post(t, x, marks)
    local text = ""
    for _, mark in ipairs(marks) do text = text .. " " .. M.mark_text(mark) end
    local q = M.request(format("ms %s %d MA N0", M.VIEW, #text), text .. "\r\n")
    for _, y in ipairs(t.q) do
        if y ~= x and not t.dead[y] then t:send(q, y) end
    end
    t:wait()
end

-- can anybody have a newer item than x has? Not while a key is on one server only.
function Copies:has_copies()
    local ring = self.memory.next or self.memory.ring
    return ring.R > 1 or ring.R == 0 and self.several or ring.before
end

-- marks x, and has every request from now on wait until everybody knows
local function distrust(t, x, bad, marks)
    local V, rec = t.V, t.servers[x]
    local worse = bad > rec.bad
    if worse then t:change(rec, bad) end
    post(t, x, marks)
    rec.force = mono() + FORCE -- the lease counts from when the mark stands
    if worse then V.force = math.max(V.force, rec.force) end
end

-- x did not answer. From now on this proxy owns a mark; others stop trusting x within a lease.
function Copies:lose(x)
    local V = self.V
    local rec = V and self:has_copies() and self.servers[x]
    if not rec then return end
    rec.back = nil
    if rec.lost and not rec.ready then return end
    if not rec.lost then V.tends = V.tends + 1 end
    rec.lost, rec.ready, rec.probed = rec.lost or mono(), nil, mono()
    rec.force, V.losses = mono() + FORCE, V.losses + 1
    rec.owner = V.me .. "n" .. V.losses
    distrust(self, x, 2, { { state = "d", server = rec.name, owner = rec.owner } })
end

-- a key is missing on authority x: has x been emptied since that was last found out? Then it is marked: it takes writes, and
-- is not read; ask `lead` again. So too if x no longer answers.
function Copies:emptied(x)
    local rec = self.servers[x]
    if rec.turns ~= self.turns then return true end -- another request has just found out
    local res = self:ask(M.request("mg " .. (rec.emptied and M.NOTED or M.WHOLE)), x)
    if not res then return true end
    if not res:ok() or res:hit() then return false end
    local now = mcp.time_real_millis()
    -- the second one is `r`, because nobody owes anything for it
    local marks = { { state = "d", server = rec.name, owner = "all" }, { state = "r", server = rec.name, owner = format("e%x", now) } }
    rec.all, rec.emptied = marks, now
    self:try(M.request("ms " .. M.NOTED .. " 1", "1\r\n"), x)
    distrust(self, x, M.hollow(now), marks)
    return true
end

-- x has missed a write of this key
function Copies:owe(x, key, b)
    local V = self.V
    local rec = V and self:has_copies() and self.servers[x]
    if not rec then return end
    self:lose(x)
    local name = key .. b
    if not rec.owed[name] then rec.owing = rec.owing + 1 end
    rec.owed[name] = true
    self.missed, self.hurt = self.missed or {}, true
    self.missed[rec] = true
    if rec.owing > LIMIT then
        rec.all, rec.emptied, rec.owed, rec.owing = { { state = "d", server = rec.name, owner = "all" } }, 0, {}, 0
        post(self, x, rec.all)
    end
end

-- waits until the marks of all servers that this request missed are in force
function Copies:in_force()
    for rec in pairs(self.missed or {}) do
        local left = rec.force - mono()
        while left > 0 do
            self.rctx:sleep(left / 1000)
            left = rec.force - mono()
        end
    end
end

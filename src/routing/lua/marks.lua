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

-- appends this proxy's mark to every member of Q but x
local function post(t, x)
    local rec = t.servers[x]
    local text = " " .. M.mark_text({ state = "d", server = rec.name, owner = t.V.me })
    local q = M.request(format("ms %s %d MA N0", M.VIEW, #text), text .. "\r\n")
    for _, y in ipairs(t.q) do
        if y ~= x and not t.dead[y] then t:send(q, y) end
    end
    t:wait()
end

-- can anybody have a newer item than x has? Not while a key is on one server only.
function Copies:counts()
    local ring = self.memory.next or self.memory.ring
    return ring.R > 1 or ring.R == 0 and self.several or ring.before
end

-- x did not answer. From now on this proxy owns a mark; others stop trusting x within a lease.
function Copies:lose(x)
    local V = self.V
    local rec = V and self:counts() and self.servers[x]
    if not rec then return end
    rec.back = nil
    if rec.lost and not rec.ready then return end
    if not rec.lost then V.tends = V.tends + 1 end
    rec.lost, rec.ready, rec.probed = not rec.ready and rec.lost or mono(), nil, mono()
    local trusted = not rec.dirty
    if trusted then
        self:change(rec, true)
        rec.force = V.force
    end
    post(self, x)
    if trusted then -- the lease counts from when the mark stands
        V.force = math.max(V.force, mono() + FORCE)
        rec.force = V.force
    end
end

-- x has missed a write of this key
function Copies:owe(x, key, b)
    local V = self.V
    local rec = V and self:counts() and self.servers[x]
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
        local left = rec.force - mono()
        while left > 0 do
            self.rctx:sleep(left / 1000)
            left = rec.force - mono()
        end
    end
end

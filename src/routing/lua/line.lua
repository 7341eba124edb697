-- Requests of one connection for one key go to its servers in the order in which they came, whatever each of them has to wait
-- for: the view (lease.lua), a change in it (lead.lua), or a ring (ring.lua). Who can go on at once, while nobody waits, does not come
-- here. Worker VM.
--
-- No request can wake another, so who is not the first looks again every STEP. Mostly he is: who waits for the view asks for it
-- himself, behind those in front of him on the same connections.
local mono = mcp.time_mono_millis
local Copies = M.Copies

local STEP <const> = 0.001 -- seconds
-- Requests that are kept in order; one connection that has more for one key under way has a key so hot that to hold up all of
-- them would cost more than their order is worth.
local DEPTH <const> = 16
local GONE <const> = 1000 -- ms for which one waits for who stands in front: that may have ended in an error of Lua's, which leaves its place

-- forgets lines in which only those can stand that have ended so
local function sweep(V, now)
    V.swept = now
    for name, line in pairs(V.lines) do
        if now - line.at > GONE then V.lines[name], V.waiting = nil, V.waiting - #line end
    end
end

-- takes a place behind others of the same connection and key, or, if it has to wait itself, the first one -> does another stand in front?
function Copies:line_up(key, waits)
    local V, now, name = self.memory, self.now, self.rctx:cfd() .. " " .. key
    if now - V.swept > GONE then sweep(V, now) end
    local line = V.lines[name] or waits and {}
    if not line then return false end
    if #line >= DEPTH then return true end
    line[#line + 1], line.at, V.lines[name] = self, now, line
    self.line, self.name, V.waiting = line, name, V.waiting + 1
    return #line > 1
end

-- gives its place up
function Copies:step_out()
    local V, line, name = self.memory, self.line, self.name
    self.line = nil
    if V.lines[name] ~= line then return end -- swept away
    for i = #line, 1, -1 do
        if line[i] == self then table.remove(line, i) end
    end
    if #line == 0 then V.lines[name] = nil end
    V.waiting = V.waiting - 1
end

-- waits a step -> true, or gives its place up, if it is the first
function Copies:must_wait()
    if self.line[1] ~= self and mono() - self.now < GONE then
        self.rctx:sleep(STEP)
        return true
    end
    self:step_out()
end

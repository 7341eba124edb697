-- Riding along: the read that finds the view run out is sent to the key's leader in front of the reading of the view, instead of behind
-- its answer. What was read counts if the view has not changed. So a proxy with few requests does not wait twice for each, and where
-- that leader is one of Q it gets one packet less. Worker VM.
--
-- Not for writes: they would be done before it is known that their leader still is one.
local mono = mcp.time_mono_millis
local Copies = M.Copies

-- asks with r, which only reads, who led its key when the view ran out, and reads the view. Then `hear` (copies.lua) takes that answer.
-- One request in a lease: where the leader hangs the view comes late too, so the others look for themselves.
function Copies:go_along(r, key)
    local V, now, ring = self.memory, self.now, self.memory.ring
    if not (self.V and V.calm and V.steady and V.glance) or now < V.rode + M.LEASE then return end
    local list = self:servers_of(key)
    if list.unknown then return end
    local p = list[1]
    local ticket = self:send(r, p)
    V.rode = now
    self:renew(p)
    if not self:hangs(ticket, p) and V.calm and V.steady and V.ring == ring and mono() < V.valid then self.asked = p end
end

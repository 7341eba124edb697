-- Who leads a key: the first of its servers that is trusted, once everybody knows. Worker VM.
--
-- Whoever sees a server's state change waits LEASE + GRACE + HEAD before it uses another authority for that server's keys: by
-- then every view from before has run out. In between its keys have no authority here, so requests for them wait. A request
-- whose answer was lost waits HEAD less: others may have seen its effect, so it is repeated before they look again.
local mono = mcp.time_mono_millis
local Copies = M.Copies

-- the first server of the list that is trusted, or was before the changes that are not in force at `before`. When none is: one that
-- was emptied has nothing old, and the longer ago the more it has again; of those that missed writes the one that was marked
-- last has missed least.
local function leader(servers, list, dead, before)
    local best, least
    for i = 1, #list do
        local x = list[i]
        if not dead[x] then
            local rec = servers[x]
            local bad = before and before < rec.till and rec.was or rec.bad
            if rec.floor and rec.floor > bad then bad = rec.floor end
            if bad == 0 then return x end
            if not best or bad < least or bad == least and bad >= 2 and rec.rank > servers[best].rank then best, least = x, bad end
        end
    end
    return best
end

local NONE = {}

-- from when on leader p is everybody's: of a change of servers behind it in the list nobody needs to know
local function settled(servers, list, p, now)
    local till, trusted = 0, p and servers[p].bad == 0 and not servers[p].floor
    if not trusted and p == leader(servers, list, NONE, now) then return 0 end
    for i = 1, #list do
        local rec = servers[list[i]]
        till = math.max(till, trusted and rec.turned or rec.till)
        if trusted and list[i] == p then break end
    end
    return till
end

local function authority(self, list)
    local V, dead = self.V, self.dead
    if not V then
        for i = 1, #list do if not dead[list[i]] then return list[i] end end
        return nil
    end
    while true do
        self:see(mono())
        self:post_again()
        if self.used_up then return nil end
        local now = mono()
        local p = leader(self.servers, list, dead)
        self.limit, self.turns = V.valid + M.GRACE, p and self.servers[p].turns
        if V.calm or not p then return p end
        local left = settled(self.servers, list, p, now) - now
        if self.doubtful then left = left - M.HEAD end
        if left <= 0 then
            self:calm_down()
            return p
        end
        self.rctx:sleep(left / 1000)
    end
end

-- the authority of the key whose servers are `list`, or nil if this request has tried them all, or one too often, or if these are no
-- longer the key's servers (ring.lua, also for `doubt`). Waits while it is open; a request whose answer was lost (`doubtful`) less than
-- others.
function Copies:lead(list, doubt)
    local p
    repeat p = not self.used_up and not self:has_left(doubt) and authority(self, list) until not (self.line and self:must_wait())
    return p and not self:has_left(doubt) and p or nil
end

-- does an answer of p, named by `lead`, count? If it came before anybody could use another
-- authority, or if nothing has changed since.
function Copies:counts(p, list)
    local turns = self.turns
    if not self.V or mono() < self.limit then return true end
    return not self.used_up and authority(self, list) == p and self.turns == turns
end

-- the last change is in force: is there anything left to look at for each request?
function Copies:calm_down()
    local V = self.memory
    for _, rec in pairs(V.servers) do
        if rec.bad > 0 or mono() < rec.till then return end
    end
    V.calm = true
end

-- may x be read as a copy?
function Copies:clean(x) return not self.dead[x] and not (self.V and self.servers[x].bad > 0) end

-- does x take writes, as far as this proxy knows?
function Copies:takes(x)
    local rec = self.V and self.servers[x]
    return not self.dead[x] and not (rec and rec.lost and not rec.back)
end

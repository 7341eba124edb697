-- The view in force: which servers this proxy trusts, since when, until when. Worker VM.
-- Reads `__mcp:v` from Q once a lease, only while there is traffic; keeps the ring and its own marks there as they should
-- be, and says there what this proxy knows. Decides who leads a key. Does not decide which servers hold it (ring.lua) nor
-- when one is lost or whole again (marks.lua, repair.lua).
--
-- Whoever sees a server's state change waits LEASE + GRACE before it uses another authority for that server's keys: by
-- then every view from before has run out. In between its keys have no authority here, so requests for them wait.
local state = memcached_proxy
local format = string.format
local mono = mcp.time_mono_millis
local FORCE <const> = M.FORCE
local EARLY <const> = 0.65 -- the part of a lease after which one request reads the view again
local WATCH <const> = 3 -- size of Q
local TELL <const>, TOLD <const> = 3000, 10 -- ms between two times that this proxy says what it knows; seconds that it counts
local Copies = M.Copies

-- What this worker knows of the cluster, kept over reloads. Times in milliseconds of the monotonic clock.
-- valid, early: when the view runs out, and is to be read again; force: when the last change is in force;
-- calm: no server is dirty and no change is pending; tell: when to say what this proxy knows; servers: records by their
-- name in the view; ring, next, turn, steady: see ring.lua.
local function memory()
    if not state.view then
        state.view = { valid = 0, early = 0, force = 0, tell = 0, calm = true, reading = 0, servers = {}, cas = {},
            me = format("%08x", M.hash(tostring(state) .. mcp.time_real_millis() .. tostring(M)) & 0xffffffff),
            reads = 0, every = 1, later = {}, tends = 0 }
        state.view.name = os.getenv("MEMCACHED_PROXY_ID") or state.view.me
    end
    return state.view
end

-- a server's record. dirty: not to be read; was: the same before the change that is not yet in force; rank: when its
-- mark came, among others'; lost: since when this proxy can't use it; back, ready: see marks.lua; owed: keys, see marks.lua
local function record(V, name)
    V.servers[name] = V.servers[name] or { name = name, dirty = false, was = false, rank = 0, owed = {}, owing = 0, force = 0 }
    return V.servers[name]
end

-- Q: the first servers, those of several lists in turn
local function watched(replicas)
    local q, before = {}, {}
    for r, servers in ipairs(replicas) do before[r + 1] = (before[r] or 0) + #servers end
    for i = 1, WATCH do
        for r, servers in ipairs(replicas) do
            if servers[i] and #q < WATCH then q[#q + 1] = (before[r] or 0) + i end
        end
    end
    return q
end

-- what a route needs to know where keys are and whom to trust: memory, V (the same where servers are marked, nil in
-- fastest), servers, q, knows (servers of the shortest list), orders (of keys, by the `place` of a ring). Called once a reload.
function M.view(conf)
    local V, servers, knows = memory(), {}, math.maxinteger
    for r, list in ipairs(conf.replicas) do
        for i = 1, #list do servers[#servers + 1] = record(V, r .. "-" .. i) end
        knows = math.min(knows, #list)
    end
    local orders = setmetatable({}, { __index = function(all, place)
        local size, copies = place >> 16, place & 0xffff
        if copies == 0 then copies = conf.mode == "replicated" and size or 1 end
        all[place] = M.order(conf.replicas, copies, size)
        return all[place]
    end })
    M.floor(V, M.ring(conf.epoch, conf.servers, conf.copies_by == "mode" and 0 or conf.copies, 0, 0))
    V.valid, V.tell = 0, 0
    return M.relief({ memory = V, V = conf.consistency == "coherent" and V or nil, servers = servers, q = watched(conf.replicas), knows = knows, orders = orders,
        several = conf.mode == "replicated" }, conf, record)
end

-- server `rec` is seen, or was made, dirty or clean
function Copies:change(rec, dirty)
    local V = self.memory
    if mono() >= V.force then
        for _, other in pairs(V.servers) do other.was = other.dirty end
    end
    rec.dirty, V.calm, V.force = dirty, false, mono() + FORCE
end

-- the marks that this proxy wants to see of its own
local function mine(V)
    local marks = {}
    for name, rec in pairs(V.servers) do
        if rec.lost then marks[name] = rec.ready and "r" or "d" end
    end
    return marks
end

-- what member should hold, given what it holds -> marks, and whether that is something else
local function corrected(V, view, known)
    local want, marks, differs = mine(V), {}, view.repeated or not view.ring or view.ring.epoch < (V.next or V.ring).epoch
    for _, mark in ipairs(view.ring and view.marks or known) do
        local own = mark.owner == V.me
        local state_wanted = own and want[mark.server] or not own and not mark.over and mark.state or nil
        if state_wanted then marks[#marks + 1] = { server = mark.server, owner = mark.owner, state = state_wanted } end
        differs = differs or state_wanted ~= mark.state
        if own then want[mark.server] = nil end
    end
    for server, wanted in pairs(want) do
        marks[#marks + 1] = { server = server, owner = V.me, state = wanted }
        differs = true
    end
    return marks, differs
end

-- writes the ring and the own marks to the members of Q that lack them, each by cas: two writers never undo each other
function Copies:correct(seen, known)
    local V = self.memory
    for y, member in pairs(seen) do
        local marks, differs = corrected(V, member.view, known)
        if differs then
            local text = M.print_view(V.next or V.ring, marks)
            local condition = member.cas and " C" .. member.cas or " ME"
            self:send(M.request(format("ms %s %d%s", M.VIEW, #text, condition), text .. "\r\n"), y)
        end
    end
    self:wait()
end

-- says on Q, now and then, what this proxy knows; `read_view` waits for it
function Copies:tell()
    local V, now = self.memory, mono()
    if now < V.tell then return end
    V.tell = now + TELL
    local text = format("%d %d", self.knows, V.ring.epoch)
    local q = M.request(format("ms %s%s %d T%d", M.REGISTER, V.name, #text, TOLD), text .. "\r\n")
    for _, y in ipairs(self.q) do
        if not self:away(y) then self:send(q, y) end
    end
end

-- is y known not to answer? It is probed, or tried by the next request: to wait for it here holds up what can go on without.
function Copies:away(y)
    local rec = self.V and self.servers[y]
    return self.dead[y] or rec and rec.lost and not rec.back
end

-- reads the view from Q -> by member { cas, view }, how many answered
function Copies:read_view()
    local tickets, seen, answers = {}, {}, 0
    for _, y in ipairs(self.q) do
        if not self:away(y) then tickets[y] = self:send(M.request("mg " .. M.VIEW .. " v c"), y) end
    end
    self:tell() -- in the same wait: with one of its own, what came after this request would pass it
    self:wait()
    for _, y in ipairs(self.q) do
        local res = self:got(tickets[y])
        if res and res:ok() then
            answers = answers + 1
            local cas, text = string.match(res:hit() and res:raw_string() or "", "^VA %d+ c(%d+)\r\n(.*)\r\n$")
            seen[y] = { cas = cas, view = M.parse_view(text or "") }
        else
            local failed = tickets[y] and self.rctx:result(tickets[y])
            if failed and M.hung(failed) and (self.V or not self:counts()) then
                self.dead[y], self.hurt = true, true -- it hangs: this request need not find out again
                self:lose(y)
            end
        end
    end
    return seen, answers
end

-- all marks of all members, those of the first member first
local function joined(q, seen)
    local marks, dirty, rank = {}, {}, {}
    for _, y in ipairs(q) do
        local view = seen[y] and seen[y].view
        for _, mark in ipairs(view and view.marks or {}) do
            local server = mark.server
            if not rank[server] then
                rank[server] = #marks + 1
            end
            marks[#marks + 1] = mark
            dirty[server] = dirty[server] or mark.state == "d"
        end
    end
    return marks, dirty, rank
end

-- did nobody write the view since this proxy last read it? Then a view that ran out meanwhile is as good as before.
local function unwritten(V, seen)
    local same = true
    for y, member in pairs(seen) do
        same = same and member.cas and V.cas[y] == member.cas
        V.cas[y] = member.cas
    end
    return same
end

-- does `owner` mark `server`?
local function stands(marks, server, owner)
    for _, mark in ipairs(marks) do
        if mark.server == server and mark.owner == owner then return true end
    end
end

-- reads the view and takes it over
function Copies:renew()
    local V, start = self.memory, mono()
    if V.reading > 0 and start - V.asked > 1000 then V.reading = 0 end -- a client left while its request was reading
    V.reading, V.asked = V.reading + 1, start
    local seen, answers = self:read_view()
    V.reading = math.max(V.reading - 1, 0)
    local marks, dirty, rank = joined(self.q, seen)
    if self.keep then self:keep(marks) end -- gutter.lua
    local ran_out, quiet = start >= V.valid, unwritten(V, seen)
    M.adopt(V, self.q, seen, start, ran_out)
    for name, rec in pairs(V.servers) do
        local now_dirty = dirty[name] or rec.lost and not rec.ready or false
        if answers * 2 <= #self.q then now_dirty = now_dirty or rec.dirty end -- a minority can't clear anybody
        rec.rank = rank[name] or 0
        if rec.too_many and start > rec.too_many and answers * 2 > #self.q and not stands(marks, name, V.me) then
            rec.too_many = nil -- a controller compares from now on
        end
        if now_dirty ~= rec.dirty then self:change(rec, now_dirty)
        elseif ran_out and not quiet and rank[name] then -- it may have changed twice while nobody looked
            self:change(rec, now_dirty)
            rec.was = not now_dirty
        elseif ran_out and rec.lost and not rec.ready and not rank[name] and answers * 2 > #self.q then
            -- its mark was taken away: a controller took this proxy for dead and compared
            self:change(rec, true)
            rec.was = false
        end
    end
    local from = answers > 0 and start or mono() -- nobody answers: availability wins
    local new = answers == #self.q
    for _, member in pairs(seen) do new = new and not member.cas end
    if new then self:found() end
    self:correct(seen, marks)
    V.valid = math.max(V.valid, from + M.LEASE) -- not before: with nothing to write, what came after this request would pass it
    V.early = V.valid - M.LEASE * (1 - EARLY)
end

-- nobody of Q has a view: the cluster is new, so no server has lost anything
function Copies:found()
    local q = M.request("ms " .. M.WHOLE .. " 1 ME", "1\r\n")
    for x = 1, #self.servers do self:send(q, x) end
    self:wait()
end

-- may server x have been emptied since?
function Copies:hollow(x)
    local res = self:try(M.request("mg " .. M.WHOLE), x)
    return not (res and res:ok() and res:hit())
end

-- before a request: the view must be valid, and requests that wait for it stay in order
function Copies:enter()
    local V, now = self.memory, mono()
    self.now = now
    if now >= V.valid or V.reading > 0 and V.asked >= V.valid then self:renew() end
end

-- after a request: what it missed must be marked in force before a write is acknowledged, and there is work to ride along
function Copies:leave(wrote)
    local V = self.memory
    if wrote and self.missed then self:in_force() end
    local now = self.now -- of its beginning, which is near enough
    if now >= V.early and not self.spent and (V.reading == 0 or now - V.asked > 1000) then self:renew() end
    if V.tends > 0 then self:tend() end
end

-- the first server of the list that is clean, or, when all are dirty, the one that became so last
local function leader(servers, list, dead, field)
    local last
    for i = 1, #list do
        local x = list[i]
        if not dead[x] then
            if not servers[x][field] then return x end
            if not last or servers[x].rank > servers[last].rank then last = x end
        end
    end
    return last
end

local NONE = {}

local function authority(self, list)
    local V, dead = self.V, self.dead
    if not V or V.calm then
        for i = 1, #list do if not dead[list[i]] then return list[i] end end
        return nil
    end
    while true do
        local now = mono()
        if now >= V.valid then
            self:renew()
            now = mono()
        end
        local p = leader(self.servers, list, dead, "dirty")
        if now >= V.force then
            self:calm_down()
            return p
        end
        if not p or p == leader(self.servers, list, NONE, "was") then return p end
        self.rctx:sleep((V.force - now) / 1000)
    end
end

-- the authority of the key whose servers are `list`, or nil if this request has tried them all, or if these are no longer the
-- key's servers (ring.lua). Waits while it is open.
function Copies:lead(list)
    local p = not self:has_left() and authority(self, list)
    return p and not self:has_left() and p or nil
end

-- the last change is in force: is there anything left to look at for each request?
function Copies:calm_down()
    local V = self.memory
    for _, rec in pairs(V.servers) do
        if rec.dirty then return end
    end
    V.calm = true
end

-- is p still the authority? For who has to look twice.
function Copies:leads(p, list) return authority(self, list) == p end

-- may x be read as a copy?
function Copies:clean(x) return not self.dead[x] and not (self.V and self.servers[x].dirty) end

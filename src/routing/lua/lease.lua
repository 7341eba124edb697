-- The view in force: which servers this proxy trusts, since when, until when. Worker VM.
-- Reads `__mcp:v` from Q once a lease, only while there is traffic; keeps the ring and its own marks there as they should
-- be, and says there what this proxy knows. Does not decide who leads a key (lead.lua), which servers hold it (ring.lua), when
-- one is lost or whole again (marks.lua, repair.lua), nor whether two members are enough (glance.lua).
local state = memcached_proxy
local match, format = string.match, string.format
local mono = mcp.time_mono_millis
local FORCE <const> = M.FORCE
local EARLY <const> = 0.65 -- the part of a lease after which one request reads the view again
-- Requests under one view, from which on it is read early while nothing happens: the reading costs a hundredth of what they do, and many
-- would wait for it. With fewer, who finds the view run out reads it.
local MANY <const> = 64
local WATCH <const> = 3 -- size of Q
local TELL <const>, TOLD <const> = 3000, 10 -- ms between two times that this proxy says what it knows; seconds that it counts
-- Readings under way at once, from which on a request waits for one of them; a worker short of processor time would spend most of what
-- it has on reading the same thing for each request. It looks again and again, at last every STEP (seconds), which is more than one reading alone takes.
local FEW <const>, STEP <const> = 4, 0.005
local LATE <const> = 2000 * M.TIMEOUT -- ms after which a reading has ended: its servers have answered, or are taken for lost
-- ms for which mark `all` stays as `r` on all of Q; longer than a controller lets it stand there
local STAYS <const> = 2000
local Copies = M.Copies

-- What this worker knows of the cluster, kept over reloads. Times in milliseconds of the monotonic clock.
-- valid, early: when the view runs out, and is to be read again;
-- oldest: when the first of the readings that are under way began; asked: when the last did;
-- asks: requests since it was read; glance, again: see glance.lua; rode: when a request last went along (along.lua);
-- taken: when the last reading began that was taken over, as one that was held up knows less;
-- calm: all servers are trusted and no change is pending; unposted: marks, by server, that may not stand on all of Q yet; losses:
-- when the last server was lost, ms since 1970, never the same twice; tell: when to say what this proxy knows; servers: records by their name in the view; ring, next, since, turn, steady: see ring.lua; lines, waiting, swept: see line.lua.
local function memory()
    if not state.view then
        state.view = { valid = 0, early = 0, asks = 0, rode = 0, taken = 0, tell = 0, calm = true, reading = 0, servers = {}, known = {}, losses = 0,
            me = format("%08x", M.hash(tostring(state) .. mcp.time_real_millis() .. tostring(M)) & 0xffffffff),
            reads = 0, every = 1, gap = 0, later = {}, tends = 0, lines = {}, waiting = 0, swept = 0, unposted = {} }
        state.view.name = os.getenv("MEMCACHED_PROXY_ID") or state.view.me
    end
    return state.view
end

-- a server's record. bad: 0 if it is trusted; from 1 to 2 if it was emptied, the more the later; from 2 to 3 if it missed writes,
-- the more the earlier; was: the same before the change that is in force from `till` on; turned: from when on it is in force whether it is
-- trusted, which another mark of a lost server does not change; turns: how often `bad` has changed; rank: when
-- its first mark came, among others', which counts where marks don't tell since when they stand; emptied: when, by the marks; lost:
-- since when this proxy can't use it; owner: of its mark; back, ready,
-- everywhere, all: see marks.lua; owed: keys, see marks.lua
local function record(V, name)
    V.servers[name] = V.servers[name] or { name = name, bad = 0, was = 0, rank = 0, turns = 0, owed = {}, owing = 0, force = 0, till = 0, turned = 0 }
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
    V.valid, V.tell, V.glance = 0, 0, nil
    return M.relief({ memory = V, V = conf.consistency == "coherent" and V or nil, servers = servers, q = watched(conf.replicas), knows = knows, orders = orders,
        several = conf.mode == "replicated" }, conf, record)
end

-- server `rec` is seen, or was made, better or worse. twice: it may have been the other way in between; later: ms that others need more to see it
function Copies:change(rec, bad, twice, later)
    local V = self.memory
    if mono() >= rec.till then rec.was = rec.bad end
    if twice then rec.was = bad == 0 and 2 or 0 end
    -- a mark is appended to all of Q at once; that it goes may be written by cas until its owner's next reading
    rec.till = math.max(rec.till, mono() + FORCE + (bad < rec.bad and M.LEASE or 0) + (later or 0))
    if twice or (bad == 0) ~= (rec.bad == 0) then rec.turned = rec.till end
    rec.bad, rec.turns, V.calm = bad, rec.turns + 1, false
end

-- whose mark? Mine have my name and a number, so that what is said of one loss is never taken for another's.
local function is_mine(V, mark) return string.sub(mark.owner, 1, #V.me) == V.me end

-- the marks that this proxy wants to see of its own, by name
local function mine(V)
    local marks = {}
    for name, rec in pairs(V.servers) do
        if rec.lost then
            local mark = { server = name, owner = rec.owner, state = rec.ready and "r" or "d" }
            marks[M.mark_name(mark)] = mark
        end
        for _, mark in ipairs(rec.all or {}) do marks[M.mark_name(mark)] = mark end
    end
    return marks
end

-- what member should hold, given what it holds -> marks, and whether that is something else
local function corrected(V, view, known)
    local want, marks, differs = mine(V), {}, view.repeated or not view.ring or view.ring.epoch < (V.next or V.ring).epoch
    for _, mark in ipairs(view.ring and view.marks or known) do
        local wanted = want[M.mark_name(mark)]
        want[M.mark_name(mark)] = nil
        local rec = V.servers[mark.server]
        local joint = V.known[M.mark_name(mark)]
        local over = not wanted and (joint and joint.over or is_mine(V, mark) or match(mark.owner, M.EMPTIED) and rec and not rec.emptied)
        if not over then marks[#marks + 1] = wanted or mark end
        differs = differs or over or (wanted or mark).state ~= mark.state
    end
    for _, mark in pairs(want) do
        marks[#marks + 1], differs = mark, true
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

-- asks the members of Q for the view, but those that have been and member `out` -> how many have answered
local function ask_members(t, seen, out)
    local tickets, answers = {}, 0
    for _, y in ipairs(t.q) do
        if y ~= out and not seen[y] and not t:away(y) then tickets[y] = t:send(M.request("mg " .. M.VIEW .. " v c"), y) end
    end
    t:tell() -- in the same wait: with one of its own, what came after this request would pass it
    t:wait()
    for _, y in ipairs(t.q) do
        local res = t:got(tickets[y])
        if res and res:ok() then
            local cas, text = match(res:hit() and res:raw_string() or "", "^VA %d+ c(%d+)\r\n(.*)\r\n$")
            seen[y] = { cas = cas, text = text, view = M.parse_view(text or "") }
        elseif t.V or not t:has_copies() then
            t:hangs(tickets[y], y)
        end
        answers = answers + (seen[y] and 1 or 0)
    end
    return answers
end

-- reads the view from Q -> by member { cas, text, view }, how many answered, and whether it is what is known
function Copies:read_view(start, with)
    local out, seen = self:left_out(start, with), {}
    local answers = ask_members(self, seen, out)
    if out and self:as_known(seen, out, start) then return seen, answers, true end
    return seen, out and ask_members(self, seen) or answers
end

-- all marks of all members, those of the first member first. A proxy's mark that is `r` anywhere is so: it never becomes `d`
-- again. -> marks; by server: rank; stale = since when it misses writes (0: not known); emptied = when that was, or 0; fresh = it may have been
-- lost, or trusted, and lost again since the last reading: it has a mark that is new, and none that has been there; on = members that
-- hold the one of its marks which most do. holders: of M.holders
local function joined(V, q, seen, complete, holders)
    local marks, rank, stale, emptied, fresh, lasting, times, at, on = {}, {}, {}, {}, {}, {}, {}, {}, {}
    for _, y in ipairs(q) do
        local view = seen[y] and seen[y].view
        for _, mark in ipairs(view and view.marks or {}) do
            local known = at[M.mark_name(mark)]
            if not known then
                known = { server = mark.server, owner = mark.owner, state = mark.state }
                at[M.mark_name(mark)], marks[#marks + 1] = known, known
            elseif mark.state == (mark.owner == "all" and "d" or "r") then
                known.state = mark.state
            end
        end
    end
    local now = mono()
    for i, mark in ipairs(marks) do
        local server, before = mark.server, V.known[M.mark_name(mark)]
        mark.since = before and before.state == mark.state and before.since or now
        mark.over = complete and mark.owner == "all" and mark.state == "r" and now - mark.since > STAYS
        rank[server] = rank[server] or i
        on[server] = math.max(on[server] or 0, holders[M.mark_name(mark)])
        if before then lasting[server] = lasting[server] or mark.state == "d" else fresh[server] = true end
        local time = match(mark.owner, M.EMPTIED)
        if time then
            times[server] = math.max(times[server] or 0, tonumber(time, 16))
        elseif mark.state == "d" and mark.owner == "all" then emptied[server] = 0
        elseif mark.state == "d" then stale[server] = math.min(stale[server] or math.huge, M.since(mark.owner)) end
    end
    for server in pairs(emptied) do
        emptied[server] = times[server] or 0
        if not times[server] then stale[server] = 0 end
    end
    V.known = at
    for server in pairs(lasting) do fresh[server] = fresh[server] and not lasting[server] end
    return marks, rank, stale, emptied, fresh, on
end

-- what the members hold of this proxy's marks: one of an earlier loss that says `d` (on a member that had not been reached, or is back
-- with old data) has been seen by others, so it goes the way of all marks. A mark may go when all members have it as `r`.
local function look_after_mine(t, seen, complete)
    local V = t.V
    for x, rec in ipairs(t.servers) do
        local ready = complete and rec.ready
        for _, member in pairs(seen) do
            local here
            for _, mark in ipairs(member.view.marks) do
                if mark.server == rec.name and is_mine(V, mark) then
                    here = here or mark.owner == rec.owner and mark.state
                    if mark.owner ~= rec.owner and mark.state == "d" then t:lose(x) end
                end
            end
            ready = ready and here == "r"
        end
        rec.everywhere = ready
    end
end

-- does `owner` mark `server`?
local function stands(marks, server, owner)
    for _, mark in ipairs(marks) do
        if mark.server == server and mark.owner == owner then return true end
    end
end

-- how many requests are reading the view. One that ended in an error of Lua's, which no answer ever comes to, counts for `LATE`.
function M.reading(V)
    if V.reading > 0 and mono() - V.oldest > LATE then V.reading = 0 end
    return V.reading
end

-- what is known of the view holds for a lease from then on
local function prolong(V, from)
    V.valid = math.max(V.valid, from + M.LEASE)
    V.early = V.valid - M.LEASE * (1 - EARLY)
    V.asks = 0
end

-- is the view to be read before it runs out?
function M.reads_early(V) return V.asks >= MANY or not V.glance end

-- reads the view and takes it over. with: the server that something else has been queued for, or nil
function Copies:renew(with)
    local V, start = self.memory, mono()
    if M.reading(V) == 0 then V.oldest = start end
    V.reading, V.asked = V.reading + 1, start
    local seen, answers, known = self:read_view(start, with)
    V.reading = math.max(V.reading - 1, 0)
    if self.used_up then return end -- it may not have asked all of them, which says nothing of those that it did not ask
    if known then return prolong(V, start) end
    local holders, complete = M.holders(seen), answers == #self.q
    if self:on_its_way(holders, answers, start) or start < V.taken then return end
    V.taken = start
    local marks, rank, stale, emptied, fresh, on = joined(V, self.q, seen, complete, holders)
    if self.keep then self:keep(marks) end -- gutter.lua
    local ran_out = start >= V.valid
    M.adopt(V, self.q, seen, start, ran_out)
    for name, rec in pairs(V.servers) do
        local posted, before = rec.all and rec.all[1].state, rec.emptied
        if posted == (emptied[name] and "d" or "r") then rec.all = nil end -- from now on these marks are everybody's
        rec.emptied = emptied[name] or rec.all and posted == "d" and before or nil
        if rec.emptied ~= before then V.gap, V.every = start, 1 end
        local since = rec.lost and not rec.ready and M.since(rec.owner)
        since = math.min(since or math.huge, stale[name] or math.huge)
        local now_bad = since < math.huge and M.stale(since) or rec.emptied and M.hollow(rec.emptied) or 0
        if answers * 2 <= #self.q then now_bad = math.max(now_bad, rec.bad) end -- a minority can't clear anybody
        rec.rank = rank[name] or 0
        if rec.too_many and start > rec.too_many and answers * 2 > #self.q and not stands(marks, name, rec.owner) then
            rec.too_many = nil -- a controller compares from now on
        end
        -- while nobody looked: its mark was taken away, because a controller took this proxy for dead and compared
        local taken = rec.lost and not rec.ready and not rank[name] and answers * 2 > #self.q
        local twice, later = ran_out and (fresh[name] or taken), on[name] and self:found_later(on[name])
        if twice or now_bad ~= rec.bad then self:change(rec, now_bad, twice, later) end
    end
    if self.V then look_after_mine(self, seen, complete) end
    if self.V and not V.calm and complete then self:start_anew() end
    local from = answers > 0 and start or mono() -- nobody answers: availability wins
    local new = complete
    for _, member in pairs(seen) do new = new and not member.cas end
    if new then self:found() end
    self:correct(seen, marks)
    self:may_glance(seen, start)
    prolong(V, from) -- not before: with nothing to write, what came after this request would pass it
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

-- makes sure that the view was valid at `time`, which is not to come. Does nothing if the request has used up its handles.
function Copies:see(time)
    local V = self.memory
    local step = STEP / 8
    while V.valid <= time and not self.used_up do
        local shared = M.reading(V) >= FEW and V.asked + M.LEASE > time
        if shared then self.rctx:sleep(step) else self:renew() end
        step = math.min(step * 2, STEP)
    end
end

-- before a request: the view must be valid; a write that the short way has sent had one. Who may have to wait lines up; behind another
-- he reads the view as well: on the same connections, that comes back when the other's has.
function Copies:enter(r, key, class)
    local V, now = self.memory, mono()
    self.now = now
    local late = now >= V.valid
    local waits = late or not (V.calm and V.steady)
    local behind = (waits or V.waiting > 0) and self:line_up(key, waits)
    if late and not self.begun then
        if class == M.READ and not behind then self:go_along(r, key) end
        self:see(now)
    elseif behind and M.reading(V) < FEW then self:renew() end
end

-- after a request: what it missed must be marked in force before a write is acknowledged, and there is work to ride along
function Copies:leave(wrote)
    local V = self.memory
    if self.line then self:step_out() end
    self:close_doubt()
    if wrote and self.missed then self:in_force() end
    if self.used_up then return end
    local now = mono()
    if now >= V.early and not self.spent and M.reading(V) == 0 and M.reads_early(V) then self:renew() end
    if V.tends > 0 then self:tend() end
end

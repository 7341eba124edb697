-- Rings: which servers hold a key now, which before, and when this proxy turns from one ring to the next. Worker VM.
-- A ring is numbers (view.lua) over the servers that the configuration lists; the one with the highest epoch on Q counts.
--   pending  a higher epoch is seen (`next`, since `since`): writes wait, reads look in both rings. Over LEASE + GRACE after the
--            reading that found it on a majority of Q: by then nobody writes in the ring before.
--   dual     the ring names the one before: what is still there is moved before it is changed (move.lua). Reads look in both:
--            to move it takes a handle for each step, and a driver moves what nobody changes.
-- Keys that both rings keep on the same servers notice nothing. Does not read Q (lease.lua) nor decide to change (a driver).
local Copies = M.Copies
local mono = mcp.time_mono_millis
local FORCE <const> = M.FORCE
local ALONE <const> = 300 -- ms after which those of Q that answer are enough
local LOOK <const>, LOOKS <const> = 0.04, 12 -- a request that waits for a majority of Q looks so often: seconds, times
local AGAIN <const> = 3 -- rings that may pass while one request runs

local function steady(V) V.steady = not V.next and not V.ring.before end

-- the ring from the configuration: counts until Q names a higher one
function M.floor(V, ring)
    if not V.ring then V.ring = ring
    elseif ring.epoch > (V.next or V.ring).epoch then V.next, V.turn, V.since = ring, nil, mono() end
    steady(V)
end

-- takes over what the members of Q name. start: when that reading began; idle: nothing was under way before it
function M.adopt(V, q, seen, start, idle)
    local best, answers, have = V.next or V.ring, 0, 0
    for _, member in pairs(seen) do
        local ring = member.view.ring
        answers = answers + 1
        if ring and ring.epoch > best.epoch then best = ring end
    end
    if best == V.ring then return end
    if best ~= V.next then V.next, V.turn, V.since = best, nil, start end
    for _, member in pairs(seen) do
        local ring = member.view.ring
        if ring and ring.epoch >= best.epoch then have = have + 1 end
    end
    if not V.turn and (have * 2 > #q or have > 0 and have == answers and start - V.since > ALONE) then
        -- one without a ring before is published when everybody active has turned to it
        local at_once = not best.before and (idle or best.place == V.ring.place)
        V.turn = at_once and start or start + FORCE
    end
    steady(V)
end

local function turn(V)
    if not V.turn or mono() < V.turn then return end
    V.ring, V.next, V.turn, V.tell = V.next, nil, nil, 0
    steady(V)
end

-- waits until the ring to come is in force -> false if nobody can say
local function await(t, V)
    local looks = 0
    while V.next do
        if V.turn then t.rctx:sleep(math.max(V.turn - mono(), 1) / 1000)
        elseif looks == LOOKS then return false
        else
            looks = looks + 1
            t.rctx:sleep(LOOK)
            if M.reading(V) == 0 then t:renew() end
        end
        turn(V)
    end
    return true
end

-- are these the same servers?
local function same(a, b)
    if #a ~= #b then return false end
    for i = 1, #a do if a[i] ~= b[i] then return false end end
    return true
end

-- the servers of `list` that this proxy knows and that are not in `but`
local function rest(list, but)
    local left = {}
    for i = 1, #list do
        local x, there = list[i], list[i] == 0
        for j = 1, #but do there = there or but[j] == x end
        if not there then left[#left + 1] = x end
    end
    return left
end

local NONE <const> = {}

-- the servers of a key in the ring in force
function Copies:servers_of(key) return self.orders[self.memory.ring.place](key) end

-- the same for a request, which waits if it writes and the key is about to move. Sets `ring`, which the request relies on;
-- `before`, the key's servers in the ring before, and `old`, those of them that have to be emptied, while it may be there;
-- `pending` while that ring is still written to by others. nil if nobody can say which ring counts. A write that the short way has
-- begun ends in the ring in which it was sent.
function Copies:place(key, reads)
    local V, orders, begun = self.memory, self.orders, self.begun
    self.before, self.old, self.pending = nil, nil, false
    if begun then
        self.ring = begun.ring
        return begun.list
    end
    if V.steady then
        self.ring = V.ring
        return orders[V.ring.place](key)
    end
    turn(V)
    while V.next do
        local to = V.next
        local list, before = orders[to.place](key), orders[to.before or V.ring.place](key)
        self.ring = to
        if same(list, before) then return list end
        if reads then
            self.before, self.pending = rest(before, NONE), true
            return list
        end
        if not await(self, V) then return nil end
    end
    self.ring = V.ring
    local list = orders[V.ring.place](key)
    local before = V.ring.before and orders[V.ring.before](key)
    if before and (list[1] ~= before[1] or not same(list, before)) then
        local old = rest(before, list)
        if #old > 0 or list[1] ~= before[1] then self.before, self.old = rest(before, NONE), old end
    end
    return list
end

-- has a ring come up that moves keys since this request found its servers? Then it may not write there any more. doubt: of what it
-- has written there it may find out whether it was done, until the new ring is in force.
function Copies:has_left(doubt)
    local V = self.memory
    if self.ring == V.ring and (not V.next or doubt and mono() < (V.turn or math.huge)) then return false end
    self.left = (V.next or V.ring).place ~= self.ring.place
    return self.left
end

-- is this the answer to a read that found the key, or a wrong request?
function Copies:tells(res) return res ~= self.out and (not res:ok() or res:hit()) end

-- a read while two rings count: the new one has what was written last, the old one what was not moved yet,
-- and the new one again what was moved in between
function Copies:look_everywhere(r, cmd, key, list, act)
    local res = act(self, r, cmd, key, list)
    if not self:tells(res) then res = act(self, r, cmd, key, self.before) end
    if not self:tells(res) then res = act(self, r, cmd, key, list) end
    return res
end

-- the ring counts servers that the configuration does not list
local function behind(t, r, cmd, key, act)
    if M.reads(cmd) then
        if t.before and #t.before > 0 then return act(t, r, cmd, key, t.before) end
        return M.miss(t, r)
    end
    return M.behind(t, r)
end

-- does the request where its key is; again if the ring changes while a server that does not answer is waited for
function Copies:serve(r, cmd, key, class, act)
    for _ = 1, AGAIN do
        self.left = false
        local list, res = self:place(key, class == M.READ), nil
        if not list then return M.unreachable(self, r, cmd) end
        while not self.V and self.line and self:must_wait() do end -- where marks count `lead` sees to that
        if list.unknown then res = behind(self, r, cmd, key, act)
        elseif self.pending or self.old and class == M.READ then res = self:look_everywhere(r, cmd, key, list, act)
        elseif self.old then res = self:moving(r, cmd, key, list, class, act)
        elseif self.stand_ins then res = self:relieved(r, cmd, key, list, class, act) -- gutter.lua
        else res = act(self, r, cmd, key, list) end
        if not self.left or self.used_up then return res end
    end
    return M.unreachable(self, r, cmd)
end

-- How one request talks to the servers of its key: ask one, ask several at once, try again what failed at once.
-- Worker VM. Does not know commands (coherent.lua, fastest.lua), versions (version.lua), nor who is trusted (lead.lua).
--
-- A handle can be used once in a request (waiting on it a second time hangs the client for ever), so each server has
-- several, taken in order. What is queued together for a server leaves in that order. Everything queued is waited for at
-- once: wait_cond counts all that is on its way, and an answer that failed meanwhile can't be waited for any more. Who waits
-- for less (fastest.lua, `spent`) can wait for nothing else in that request: what was left over ends any later wait at once.
--
-- Each is reset after every request, whether it was used or not, and takes 0.7 kB of every request in flight, at every server that
-- the proxy knows. So reads have a route of their own with fewer; more at the servers of Q (lease.lua), which are asked for the view
-- and told of marks too. Most that storms of faults have used: 14; reads, 6, or 11 at Q.
local HANDLES <const> = 16 -- for each server
local READS <const>, READS_OF_Q <const> = 8, 12 -- of the route for reads

-- A CLIENT_ERROR in answer to anybody's request resets the connection that all requests of the worker share, and they
-- fail at once. So a quick failure is tried again, a slow one (the server hangs) is not. Microseconds.
local QUICK <const> = M.TIMEOUT * 800000
local TRIES <const> = 3
local ANY, READ <const> = mcp.WAIT_ANY, M.READ

local Copies = {}
M.Copies = Copies -- along.lua, lease.lua, lead.lua, line.lua, ring.lua, move.lua, marks.lua, repair.lua and version.lua add to it

-- did the server answer at all? (SERVER_ERROR and CLIENT_ERROR from it are answers)
function M.answered(res) return res and (res:ok() or res:raw_string() ~= nil) end

-- it did not: was that slow, as of a server that hangs?
function M.hung(res) return res:elapsed() >= QUICK end
local answered = M.answered

-- the next handle of server x, or nil if this request has asked x too often. Then it ends as soon as it can (lead.lua): to do without x,
-- which others go on to use, would be to decide at two servers.
function Copies:ticket(x)
    local n = self.used[x] + 1
    local handle = self.H[x][n]
    if handle then self.used[x] = n
    else self.used_up, self.dead[x], self.hurt = true, true, true end
    return handle
end

-- can x be asked n times more?
function Copies:room(x, n) return self.used[x] + n <= #self.H[x] end

function Copies:queue(q, ticket)
    self.queued, self.last = self.queued + 1, ticket
    self.rctx:enqueue(q, ticket)
end

-- queues q for server x -> a ticket for `got`, or nil if this request has asked x too often
function Copies:send(q, x)
    local ticket = self:ticket(x)
    if ticket then self:queue(q, ticket) end
    return ticket
end

function Copies:wait()
    local queued = self.queued
    self.queued = 0
    if queued == 1 then self.rctx:wait_handle(self.last)
    elseif queued > 0 then self.rctx:wait_cond(queued, ANY) end
end

-- what server answered, or nil
function Copies:got(ticket)
    local res = ticket and self.rctx:result(ticket)
    return answered(res) and res or nil
end

-- asks once, draws no conclusion -> the answer or nil
function Copies:try(q, x)
    local ticket = self:send(q, x)
    self:wait()
    return self:got(ticket)
end

-- has x not answered this in all the time it may take? Then nobody in this request needs to find that out again -> true
function Copies:hangs(ticket, x)
    local res = ticket and self.rctx:result(ticket)
    if not res or answered(res) or not M.hung(res) then return false end
    self.dead[x], self.hurt = true, true
    self:lose(x)
    return true
end

-- it failed: more tries if that was quick, then it counts as lost, for this request at least
function Copies:retry(q, x, ticket)
    local res = ticket and self.rctx:result(ticket)
    local n = self.tries[x] or 0
    self.hurt = true
    while res and n < TRIES and not M.hung(res) and not self:known_lost(x) do
        n = n + 1
        self.tries[x] = n
        ticket = self:send(q, x)
        if not ticket then return nil end
        self:wait()
        res = self.rctx:result(ticket)
        if answered(res) then return res end
    end
    self.dead[x] = true
    self:lose(x)
end

-- what comes by that ticket; waits for what is queued too
function Copies:ask_by(q, ticket)
    if self.queued == 0 then return self.rctx:enqueue_and_wait(q, ticket) end -- a third of the time of the three calls
    self:queue(q, ticket)
    self:wait()
    return self.rctx:result(ticket)
end

-- the answer of server x, or nil; waits for what is queued too
function Copies:ask(q, x)
    if self.dead[x] then return nil end
    local ticket = self:ticket(x)
    if not ticket then return nil end
    local res = self:ask_by(q, ticket)
    if answered(res) then return res end
    return self:retry(q, x, ticket)
end

-- the same, where the short way (usual.lua) may have asked x already
function Copies:hear(q, x)
    if self.asked ~= x then return self:ask(q, x) end
    local ticket = self.H[x][1]
    self.asked = nil
    self:wait()
    return self:got(ticket) or self:retry(q, x, ticket)
end

-- asks all servers of `list` but `skip` at once -> answers by server. key, b: given when q changes that key, so that who
-- does not answer is owed it.
function Copies:all(q, list, skip, key, b)
    local answers = {}
    for i = 1, #list do
        local x = list[i]
        if x ~= skip and not self.dead[x] then answers[x] = self:send(q, x) end
    end
    self:wait()
    for i = 1, #list do
        local x = list[i]
        local ticket = answers[x]
        if ticket then answers[x] = self:got(ticket) or self:retry(q, x, ticket) end
        if key and x ~= skip and not answers[x] then self:owe(x, key, b) end
    end
    return answers
end

-- the first usable server in key order that answers -> its answer, its number
function Copies:first(q, list)
    while true do
        local p = self:lead(list)
        if not p then return nil end
        local res = self:hear(q, p)
        if res then return res, p end
        self.dead[p] = true
    end
end

-- the reusable part of a request's context. shared: the metatable with what all contexts have in common; a copy of that in
-- each would be far more than the processor's caches hold.
local function context(rctx, shared)
    local t = { rctx = rctx, out = rctx:response_new(), dead = {}, tries = {}, used = {}, queued = 0 }
    if not t.out.raw_string then error(M.TOO_OLD, 0) end -- came with 1.6.40; asked for at start, when the first context is made
    if shared.__index.mutators then t.objects = M.prepare(rctx) end
    for x = 1, #shared.__index.H do t.used[x] = 0 end
    return setmetatable(t, shared)
end

-- forgets the request before
function Copies:begin()
    local used = self.used
    self.spent, self.said, self.asked, self.begun = false, false, nil, nil
    for x = 1, #used do used[x] = 0 end
    if self.line then self:step_out() end -- it ended in an error of Lua's
    self:close_doubt()
    if self.hurt then self.dead, self.tries, self.hurt, self.missed, self.doubtful, self.used_up = {}, {}, nil, nil, nil, nil end
end

-- does a request at the servers of its key
function Copies:route(r, cmd, key, class)
    self:enter(r, key, class)
    local res = self:serve(r, cmd, key, class, self.commands[class])
    if self.used_up and self.missed and not M.reads(cmd) then res = M.unknown(self, r) end -- the mark may not be in force
    self:leave(class ~= READ)
    return res
end

-- does the client's request at the servers of its key, the short way (usual.lua) if there is one
function Copies:forward(r, usual)
    local cmd, key = r:command(), r:key()
    local class, res, begun = M.class(r, cmd), nil, nil
    if usual then
        res, begun = usual(self, r, cmd, key, class)
        if res then return res end
    end
    self:begin()
    if begun then self:take_over(begun) end
    return self:route(r, cmd, key, class)
end

-- one route over `pools`, numbered as order.lua does, for commands that only read, or for all. commands: class ->
-- function(t, r, cmd, key, list), t as above. view: of lease.lua; front: of failover.lua, or nil. Called once a reload.
function M.copies(pools, commands, name, view, front, reads)
    local fgen = mcp.funcgen_new()
    local fixed = { H = {}, replies = M.replies(), commands = commands, near = front and front.open(fgen) }
    for method, body in pairs(Copies) do fixed[method] = body end
    for x, pool in ipairs(pools) do
        local count = reads and READS or HANDLES
        for _, y in ipairs(reads and view.q or {}) do
            if x == y then count = READS_OF_Q end
        end
        fixed.H[x] = {}
        for n = 1, count do fixed.H[x][n] = fgen:new_handle(pool) end
    end
    for field, value in pairs(view) do fixed[field] = value end
    local shared, usual, act = { __index = fixed }, commands.usual and commands.usual(fixed), front and front.answer or Copies.forward
    fixed.mutators = commands.usual and not reads and M.mutators() or nil
    fgen:ready({ n = name, u = fixed.mutators and 1 + M.PREPARED or 1, f = function(rctx)
        local t = context(rctx, shared)
        return function(r) return act(t, r, usual) end
    end })
    return fgen
end

-- How one request talks to the servers of its key: ask one, ask several at once, try again what failed at once.
-- Worker VM. Does not know commands (coherent.lua, fastest.lua), versions (version.lua), nor who is trusted (lease.lua).
--
-- A handle can be used once in a request (waiting on it a second time hangs the client for ever), so each server has
-- several, taken in order. What is queued together for a server leaves in that order. Everything queued is waited for at
-- once: wait_cond counts all that is on its way, and an answer that failed meanwhile can't be waited for any more. Who waits
-- for less (fastest.lua, `spent`) can wait for nothing else in that request: what was left over ends any later wait at once.
local HANDLES <const> = 20 -- for each server and request

-- A CLIENT_ERROR in answer to anybody's request resets the connection that all requests of the worker share, and they
-- fail at once. So a quick failure is tried again, a slow one (the server hangs) is not. Microseconds.
local QUICK <const> = M.TIMEOUT * 800000
local TRIES <const> = 3
local ANY = mcp.WAIT_ANY

local Copies = {}
M.Copies = Copies -- lease.lua, ring.lua, move.lua, marks.lua, repair.lua and version.lua add to it

-- did the server answer at all? (SERVER_ERROR and CLIENT_ERROR from it are answers)
function M.answered(res) return res and (res:ok() or res:raw_string() ~= nil) end

-- it did not: was that slow, as of a server that hangs?
function M.hung(res) return res:elapsed() >= QUICK end
local answered = M.answered

-- the next handle of server x, or nil if this request has asked x too often
function Copies:ticket(x)
    local n = self.used[x] + 1
    local handle = self.H[x][n]
    if handle then self.used[x] = n end
    return handle
end

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

-- it failed: more tries if that was quick, then it counts as lost, for this request at least
function Copies:retry(q, x, ticket)
    local res = ticket and self.rctx:result(ticket)
    local n = self.tries[x] or 0
    self.hurt = true
    while res and n < TRIES and not M.hung(res) and not self:known_lost(x) do
        n = n + 1
        self.tries[x] = n
        ticket = self:send(q, x)
        if not ticket then break end
        self:wait()
        res = self.rctx:result(ticket)
        if answered(res) then return res end
    end
    self.dead[x] = true
    self:lose(x)
end

-- the answer of server x, or nil; waits for what is queued too
function Copies:ask(q, x)
    if self.dead[x] then return nil end
    local alone, res = self.queued == 0, nil
    local ticket = self:ticket(x)
    if not ticket then return nil end
    if alone then
        res = self.rctx:enqueue_and_wait(q, ticket) -- a third of the time of the three calls
    else
        self:queue(q, ticket)
        self:wait()
        res = self.rctx:result(ticket)
    end
    if answered(res) then return res end
    return self:retry(q, x, ticket)
end

-- asks all servers of `list` but `skip` at once -> answers by server. key, b: given when q changes that key, so that who
-- does not answer is owed it.
function Copies:all(q, list, skip, key, b)
    local tickets, answers = {}, {}
    for i = 1, #list do
        local x = list[i]
        if x ~= skip and not self.dead[x] then tickets[x] = self:send(q, x) end
    end
    self:wait()
    for i = 1, #list do
        local x = list[i]
        local ticket = tickets[x]
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
        local res = self:ask(q, p)
        if res then return res, p end
        self.dead[p] = true
    end
end

-- the reusable part of a request's context
local function context(rctx, fixed)
    local t = { rctx = rctx, out = rctx:response_new(), dead = {}, tries = {}, used = {}, queued = 0 }
    if not t.out.raw_string then error(M.TOO_OLD, 0) end -- came with 1.6.40; asked for at start, when the first context is made
    for name, value in pairs(fixed) do t[name] = value end -- found at once, unlike what a metatable has
    for x = 1, #fixed.H do t.used[x] = 0 end
    return t
end

local function reset(t)
    local used = t.used
    t.spent, t.said = false, false
    for x = 1, #used do used[x] = 0 end
    if t.hurt then t.dead, t.tries, t.hurt, t.missed = {}, {}, nil, nil end -- of the request before
end

-- one route over `pools`, numbered as order.lua does. commands: class -> function(t, r, cmd, key, list), t as above.
-- view: of lease.lua. Called once a reload.
function M.copies(pools, commands, name, view)
    local fgen = mcp.funcgen_new()
    local fixed = { H = {}, replies = M.replies() }
    for method, body in pairs(Copies) do fixed[method] = body end
    for x, pool in ipairs(pools) do
        fixed.H[x] = {}
        for n = 1, HANDLES do fixed.H[x][n] = fgen:new_handle(pool) end
    end
    for field, value in pairs(view) do fixed[field] = value end
    fgen:ready({ n = name, u = 1, f = function(rctx)
        local t = context(rctx, fixed)
        return function(r)
            reset(t)
            local cmd, key = r:command(), r:key()
            local class = M.class(r, cmd)
            t:enter()
            local res = t:serve(r, cmd, key, class, commands[class])
            t:leave(class ~= M.READ)
            return res
        end
    end })
    return fgen
end

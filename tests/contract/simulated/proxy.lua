-- memcached's proxy as the library sees it: `mcp`, requests, answers, contexts. Each proxy has a library of its own.
-- world: now (ms), at(delay, f), send(proxy, x, line, value, done) where done(text or nil) is called once.
local MOST <const> = 20000000 -- instructions of Lua that a request may take: seconds of them
local Request = {}
Request.__index = Request
local CMD = { get = 1, gets = 2, mg = 3, me = 4, gat = 5, gats = 6, touch = 7, set = 8, ms = 9, delete = 10, md = 11, add = 12,
    replace = 13, append = 14, prepend = 15, cas = 16, incr = 17, decr = 18, ma = 19, mn = 20 }
local CODE = { OK = 1, END = 2, STORED = 3, EXISTS = 4, DELETED = 5, TOUCHED = 6, NOT_FOUND = 7, NOT_STORED = 8, CLIENT_ERROR = 9,
    SERVER_ERROR = 10, ERROR = 11 }
local WORDS = { HD = CODE.OK, VA = CODE.OK, ME = CODE.OK, VALUE = CODE.OK, EN = CODE.END, END = CODE.END, NF = CODE.NOT_FOUND,
    NS = CODE.NOT_STORED, EX = CODE.EXISTS }
for word, code in pairs(CODE) do WORDS[word] = WORDS[word] or code end

local function request(line, value)
    if type(value) == "table" then value = value.value end
    return setmetatable({ line = (line:gsub("\r\n$", "")), value = value }, Request)
end
function Request:command() return CMD[self.line:match("^%S+")] end
function Request:key() return self.line:match("^gats? +%S+ +(%S+)") or self.line:match("^%S+ +(%S+)") end
function Request:raw_line() return self.line end
local function meta(self) return self.line:match("^m[gsad] +%S+(.*)$") or "" end
function Request:has_flag(f) return meta(self):find(" " .. f) ~= nil end
function Request:flag_add(f, v)
    if self:has_flag(f) then return false end
    self.line = self.line .. " " .. f .. v
    return true
end

local Answer = {}
Answer.__index = Answer
local function answer(text, elapsed) return setmetatable({ text = text, took = elapsed }, Answer) end
function Answer:code() return self.text and WORDS[self.text:match("^[%u_]+")] or 0 end
function Answer:ok()
    local code = self:code()
    return code ~= 0 and code ~= CODE.CLIENT_ERROR and code ~= CODE.SERVER_ERROR and code ~= CODE.ERROR
end
function Answer:hit() return self.text ~= nil and self.text:find("^VALUE ") ~= nil or self.text and self.text:find("^[VHM][ADE]") ~= nil end
function Answer:line() return self.text and (self.text:match("^VA %d+ ([^\r]*)") or self.text:match("^[%u_]+ ([^\r]*)")) end
function Answer:raw_string() return self.text end
function Answer:elapsed() return self.took * 1000 end

local Context = {}
Context.__index = Context
function Context:response_new() return answer("") end
function Context:request_new() return request("") end
function Context:enqueue(q, handle)
    assert(not self.results[handle], "a handle is used twice")
    self.results[handle] = "queued"
    self.queue[#self.queue + 1] = { q = q, handle = handle }
end
local function dispatch(self)
    local queue = self.queue
    self.queue = {}
    self.world.batch = {}
    for _, each in ipairs(queue) do
        local start, handle = self.world.now, each.handle
        self.results[handle] = "sent"
        self.world.send(self.proxy, handle.pool, each.q.line, each.q.value, function(text)
            self.results[handle] = answer(text, self.world.now - start)
            self.arrived = self.arrived + 1
            if self.wanted and self.arrived >= self.wanted then
                self.wanted = nil
                self.world.resume(self.proxy, self)
            end
        end)
    end
    self.world.batch = nil
end
function Context:wait_handle(_) self:wait_cond(1) end
function Context:wait_cond(n)
    dispatch(self)
    if self.arrived < n then
        self.wanted = n
        coroutine.yield()
    end
    self.arrived = 0
end
function Context:result(handle)
    local res = self.results[handle]
    assert(type(res) == "table", "no result yet")
    return res, 1
end
function Context:enqueue_and_wait(q, handle)
    self:enqueue(q, handle)
    self:wait_cond(1)
    return self:result(handle)
end
function Context:cfd() return self.connection end
function Context:sleep(seconds)
    self.world.at(seconds * 1000, function() self.world.resume(self.proxy, self) end)
    coroutine.yield()
end

-- a proxy with its own library -> function(line, value, done, connection): does a client's request
function make_proxy(world, number, library, conf)
    local env = setmetatable({}, { __index = _G })
    env._G = env
    -- the same choices for the same seed: no order and no name may depend on addresses
    function env.pairs(map)
        local keys, sortable = {}, true
        for k in pairs(map) do
            keys[#keys + 1] = k
            sortable = sortable and type(k) ~= "table"
        end
        if sortable then table.sort(keys, function(a, b) return type(a) == type(b) and a < b or type(a) ~= type(b) and type(a) == "number" end) end
        local i = 0
        return function()
            repeat i = i + 1 until keys[i] == nil or map[keys[i]] ~= nil
            return keys[i], map[keys[i]]
        end
    end
    function env.tostring(value) return type(value) == "table" and "table " .. number or tostring(value) end
    local routes = {} -- by command; the one of CMD_ANY_STORAGE for the others
    local mcp = { request = request, WAIT_ANY = 1, WAIT_GOOD = 2, RES_GOOD = 1, CMD_ANY_STORAGE = 0, internal_handler = {},
        time_mono_millis = function() return math.floor(world.now) + 5000000 end,
        time_real_millis = function() return 1790000000000 + math.floor(world.now) + world.skew(number) end,
        attach = function(cmd, fgen) routes[cmd] = fgen end }
    for name, code in pairs(CODE) do mcp["MCMC_CODE_" .. name] = code end
    for name, code in pairs(CMD) do mcp["CMD_" .. name:upper()] = code end
    function mcp.res_mutator_new(what)
        return function(out, r)
            if what.t == "rescodeset" then
                local word = what.val
                if r.line:find("^m") then word = ({ STORED = "HD", NOT_STORED = "NS", EXISTS = "EX", NOT_FOUND = "NF" })[word] end
                out.text = word .. "\r\n"
            else out.text = r.line:find("^m") and "EN\r\n" or "END\r\n" end
        end
    end
    function mcp.req_mutator_new(...)
        local steps = { ... }
        return function(q, ...)
            local words, value = {}, nil
            for i, step in ipairs(steps) do
                local given = step.idx and select(step.idx, ...)
                if step.t == "cmdset" then words[i] = step.cmd
                elseif step.t == "keycopy" then words[i] = given:key()
                elseif step.t == "flagcopyall" then words[i] = given
                elseif step.t == "valcopy" then
                    value = type(given) == "table" and given.value or given
                    words[i] = #value - 2
                end
            end
            assert(value or not q.value, "an object that had a value would still claim its size")
            q.line, q.value = table.concat(words, " "), value
        end
    end
    function mcp.funcgen_new()
        local fgen = { free = {} }
        function fgen:new_handle(pool) return { pool = pool } end
        function fgen:ready(what) self.f = what.f end
        return fgen
    end
    env.mcp = mcp
    assert(load(library, "@library", "t", env))()
    local pools, n = {}, 0
    for _, list in ipairs(conf.replicas) do for _ in ipairs(list) do n = n + 1 pools[n] = n end end
    for _ in ipairs(conf.gutter or {}) do
        n = n + 1
        pools[n] = n
    end
    env.mcp_config_routes({ conf = conf, pools = pools })
    return function(line, value, done, connection)
        local r = request(line, value)
        local route = routes[r:command()] or routes[mcp.CMD_ANY_STORAGE]
        local free = route.free
        local ctx = table.remove(free)
        if not ctx then
            ctx = setmetatable({ world = world, proxy = number }, Context)
            ctx.results, ctx.queue, ctx.arrived = {}, {}, 0
            ctx.f = route.f(ctx)
        end
        ctx.results, ctx.queue, ctx.arrived, ctx.wanted, ctx.connection = {}, {}, 0, nil, connection
        ctx.co = coroutine.create(function()
            local res = ctx.f(r)
            done(type(res) == "table" and (res.text or "SERVER_ERROR backend failure\r\n") or res)
            free[#free + 1] = ctx
        end)
        debug.sethook(ctx.co, function() error("a request never ends") end, "", MOST)
        world.resume(number, ctx)
    end, env
end

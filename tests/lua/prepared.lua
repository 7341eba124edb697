-- Requests of the short way, by prepared.lua. The mutators are memcached's, so here they only say what they were given, or refuse.
function mcp.req_mutator_new(...)
    local verb, steps = ..., select("#", ...)
    return function(q, r, flags, value)
        if r.refused then return false end
        q.line = table.concat({ verb.cmd, r:key(), steps > 2 and flags or nil, steps > 3 and value or nil }, " ")
    end
end

local made = 0
local rctx = { request_new = function()
    made = made + 1
    return {}
end }
local t = setmetatable({ objects = M.prepare(rctx), mutators = M.mutators() }, { __index = M.Copies })
same(made, M.PREPARED, "objects that a context is told to have room for")

local r = request("set k 0 0 1")
same(t:fill("look", r).line, "me k", "a look")
same(t:fill("stamp", r, "D0 v t E7").line, "ma k D0 v t E7", "a stamp")
same(t:fill("item", r, "F0 T0 E7", "x").line, "ms k F0 T0 E7 x", "an item")

r = request("set other 0 0 1")
r.refused = true
claim(not pcall(t.fill, t, "look", r), "what could not be written is sent as what was asked before")

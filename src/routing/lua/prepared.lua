-- Prepared requests: those of the short way (usual.lua), written by memcached's mutators into objects that a context keeps. `M.request`
-- makes one of 0.7 kB each time, with a finalizer; to make and to collect them was a fifth of what a set cost. Worker VM.
-- Does not know what is sent when, and is not for what may be sent in several forms (version.lua).
local Copies = M.Copies

-- Each for one command: an object that had a value still claims its size when it has none.
local USES <const> = { look = "me", counter = "mg", count = "ma", stamp = "ma", item = "ms", copy = "ms" }
M.PREPARED = 6 -- objects of a context

-- use -> function(object, r, ...): its command for the key of request r, with flags in one string, and a value: a string with its
-- \r\n, or a request. Made once a reload.
function M.mutators()
    local key, flags, value, made = { t = "keycopy", idx = 1 }, { t = "flagcopyall", idx = 2 }, { t = "valcopy", idx = 3 }, {}
    local steps = { me = { key }, mg = { key, flags }, ma = { key, flags }, ms = { key, value, flags } }
    for use, name in pairs(USES) do
        made[use] = mcp.req_mutator_new({ t = "cmdset", cmd = name }, table.unpack(steps[name]))
    end
    return made
end

-- the objects of one context
function M.prepare(rctx)
    local objects = {}
    for use in pairs(USES) do objects[use] = rctx:request_new() end
    return objects
end

-- fills the object for this use, which a request can once -> the request
function Copies:fill(use, r, flags, value)
    local q = self.objects[use]
    assert(self.mutators[use](q, r, flags, value) == nil) -- false: it still holds what was asked before
    return q
end

-- Command classes: what a command does to a key, and how a write is sent so that every copy gets the same cas id.
-- Worker VM. Does not send anything.
--   class    commands                                                                what a route may do with it
--   READ     get gets mg me                                                          ask any copy
--   TOUCH    gat gats touch, mg that touches or creates (T N R E)                    a read or overwrite that moves the lifetime
--   STORE    set, plain ms                                                           overwrite: repeat at will
--   REMOVE   delete, plain md                                                        repeat at will
--   UPDATE   add replace append prepend cas incr decr ma, ms and md with conditions  decide at one server, once
M.READ, M.TOUCH, M.STORE, M.REMOVE, M.UPDATE = 1, 2, 3, 4, 5
local match, find, format = string.match, string.find, string.format

local CLASS, FLAGS, MODE

-- the constants exist in a worker VM only
local function define()
    CLASS = {
        [mcp.CMD_GET] = M.READ, [mcp.CMD_GETS] = M.READ, [mcp.CMD_MG] = M.READ, [mcp.CMD_ME] = M.READ,
        [mcp.CMD_GAT] = M.TOUCH, [mcp.CMD_GATS] = M.TOUCH, [mcp.CMD_TOUCH] = M.TOUCH,
        [mcp.CMD_SET] = M.STORE, [mcp.CMD_MS] = M.STORE, [mcp.CMD_DELETE] = M.REMOVE, [mcp.CMD_MD] = M.REMOVE,
    }
    FLAGS = { -- those that make more of a meta command than its name says, and what
        [mcp.CMD_MG] = { "^%S+ +%S+.* [TNRE]", M.TOUCH },
        [mcp.CMD_MS] = { "^%S+ +%S+.* [CIMEN]", M.UPDATE },
        [mcp.CMD_MD] = { "^%S+ +%S+.* [CIxET]", M.UPDATE },
    }
    MODE = { -- text storage command -> flag of ms
        [mcp.CMD_SET] = "", [mcp.CMD_CAS] = "", [mcp.CMD_ADD] = " ME", [mcp.CMD_REPLACE] = " MR",
        [mcp.CMD_APPEND] = " MA", [mcp.CMD_PREPEND] = " MP",
    }
end

function M.class(r, cmd)
    if not CLASS then define() end
    local more = FLAGS[cmd]
    if more and find(r:raw_line(), more[1]) then return more[2] end
    return CLASS[cmd] or M.UPDATE
end

-- must a miss read as a miss when no server answers?
function M.reads(cmd)
    return CLASS[cmd] == M.READ or cmd == mcp.CMD_GAT or cmd == mcp.CMD_GATS or cmd == mcp.CMD_MG
end

-- does it create what is not there? Then a lost authority must be refilled before, not after.
function M.creates(r, cmd)
    return cmd == mcp.CMD_ADD or find(r:raw_line(), "^m[agms] +%S+.* N%d")
        or cmd == mcp.CMD_MS and find(r:raw_line(), "^ms +%S+.* M[Ee]")
end

-- the seconds to which a TOUCH moves the lifetime, or nil
function M.lifetime(r, cmd)
    local line = r:raw_line()
    if cmd == mcp.CMD_TOUCH then return match(line, "^touch +%S+ +(%-?%d+)") end
    if cmd == mcp.CMD_MG then return match(line, " T(%-?%d+)") end
    return match(line, "^gats? +(%-?%d+)")
end

-- a text storage command with the id -> what an `ms` says in place of it, beside condition or mode; its size; the id that it compares.
-- nil if it says what no `ms` can
function M.says(r, cmd, id)
    local flags, ttl, size, cas = match(r:raw_line(), "^%S+ +%S+ +(%d+) +(%-?%d+) +(%d+) *(%d*)")
    if not flags or #flags > 10 or tonumber(flags) > 4294967295 or #ttl > 9 then return nil end
    -- a too large ms removes the old item in every mode, a too large text add does not: leave the big ones as they are
    if cmd ~= mcp.CMD_SET and #size > 5 or cmd == mcp.CMD_CAS and cas == "" then return nil end
    return "F" .. flags .. " T" .. ttl .. " E" .. id, size, cas
end

-- what M.says -> condition or mode -> the request
function M.maker(r, key, says, size)
    local line = "ms " .. key .. " " .. size .. " " .. says
    return function(condition) return M.request(line .. condition, r) end
end

-- incr or decr with the id -> what a `ma` says in place of it; what it adds, if it is incr. nil if no `ma` can
function M.counts_by(r, cmd, id)
    local delta = match(r:raw_line(), "^%S+ +%S+ +(%d+)")
    if not delta or #delta > 19 then return nil end
    local up = cmd == mcp.CMD_INCR
    return format("D%s M%s v t E%s", delta, up and "I" or "D", id), up and math.tointeger(tonumber(delta))
end

-- the client's write -> what to send, its cas id (nil if it can't carry one), how to translate the answer back ("word" for
-- a text storage command, "number" for incr and decr, nil for a meta command), and, where the request says all of the new
-- item, a function from a condition (" C<id>", " ME") to the request that puts it on a copy; at last what it adds, if it is incr.
function M.translate(r, cmd, key)
    local id = M.new_id()
    if MODE[cmd] then
        local says, size, cas = M.says(r, cmd, id)
        if says then
            local make, whole = M.maker(r, key, says, size), cmd ~= mcp.CMD_APPEND and cmd ~= mcp.CMD_PREPEND
            return make(cmd == mcp.CMD_CAS and " C" .. cas or MODE[cmd]), id, "word", whole and make or nil
        end
    elseif cmd == mcp.CMD_INCR or cmd == mcp.CMD_DECR then
        local says, delta = M.counts_by(r, cmd, id)
        if says then return M.request("ma " .. key .. " " .. says), id, "number", nil, delta end
    elseif cmd == mcp.CMD_MS or cmd == mcp.CMD_MA and not r:has_flag("c") or cmd == mcp.CMD_MG and r:has_flag("N")
        or cmd == mcp.CMD_MD and r:has_flag("I") then
        -- not for `ma .. c`: when the number gets a digit longer, 1.6.45 reports another id than the E that it stores
        local plain = cmd == mcp.CMD_MS and M.class(r, cmd) == M.STORE
        if r:flag_add("E", id) then
            return r, id, nil, plain and function(condition) return M.request(r:raw_line() .. condition, r) end or nil
        end
    end
    return r
end

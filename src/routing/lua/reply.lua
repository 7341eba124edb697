-- What the client reads when it is not simply a server's answer: misses, words for numbers, silence. Worker VM.
local match, gmatch, find = string.match, string.gmatch, string.find

-- responses that a route can give without asking a server. Made once a reload.
function M.replies()
    local words = {}
    for code, word in pairs({ OK = "STORED", NOT_STORED = "NOT_STORED", EXISTS = "EXISTS", NOT_FOUND = "NOT_FOUND" }) do
        words[mcp["MCMC_CODE_" .. code]] = mcp.res_mutator_new({ t = "rescodeset", val = word })
    end
    return { words = words, miss = mcp.res_mutator_new({ t = "resnull", idx = 1 }) }
end

-- memcached keeps quiet about errors after `noreply`; the proxy would send them, and the client's replies would shift.
-- (the proxy writes the last letter large when it has sent the request to a server)
function M.silent(r)
    local line = r:raw_line()
    -- plain first: the pattern alone takes ten times as long, in each write
    return find(line, " norepl", 1, true) and match(line, "^%l+ +%S+.* norepl[yY] *$")
end

-- t: the request's context (copies.lua): `out` an empty response, `replies` from above, `client` the client's request where
-- r may be another (failover.lua)
local function word(t, r, code)
    t.replies.words[code](t.out, r)
    return t.out
end

function M.miss(t, r)
    if not t.said then t.replies.miss(t.out, t.client or r) end -- once a request: it can't be said again
    t.said = true
    return t.out
end

-- no server of the key answers
function M.unreachable(t, r, cmd)
    if t.alone and not t.used_up then -- it has a stand-in, which was not asked yet (gutter.lua)
        t.left = true
        return t.out
    end
    if M.reads(cmd) then return M.miss(t, r) end
    if M.silent(r) then return word(t, r, mcp.MCMC_CODE_OK) end
    return "SERVER_ERROR no cache server of this key answers\r\n"
end

-- the ring in force counts servers that this proxy does not know
function M.behind(t, r)
    if M.silent(r) then return word(t, r, mcp.MCMC_CODE_OK) end
    return "SERVER_ERROR this proxy does not know the servers of the ring in force yet\r\n"
end

-- a write may have been done, and somebody has written over it since: to say anything else would be a guess
function M.unknown(t, r)
    if M.silent(r) then return word(t, r, mcp.MCMC_CODE_OK) end
    return "SERVER_ERROR a cache server was lost meanwhile, the outcome is not known\r\n"
end

-- a server's answer to what M.translate made of the client's request -> the client's answer
function M.answer(t, r, res, form)
    if M.silent(r) then return word(t, r, mcp.MCMC_CODE_OK) end
    if not res:ok() or not form then return res end
    if form == "number" and res:code() == mcp.MCMC_CODE_OK then
        return match(res:raw_string(), "\r\n(%d+)") .. "\r\n"
    end
    return word(t, r, res:code())
end

-- the best of the answers of several servers: it worked, then "not there", then an error; of equals the first in key order
function M.best(t, r, cmd, answers, list, form)
    local found, rank = nil, 0
    for i = 1, #list do
        local res = answers[list[i]]
        if res then
            local code, worth = res:code(), 3
            if not res:ok() then worth = 1
            elseif code == mcp.MCMC_CODE_NOT_FOUND or code == mcp.MCMC_CODE_NOT_STORED then worth = 2 end
            if worth > rank then found, rank = res, worth end
        end
    end
    if not found then return M.unreachable(t, r, cmd) end
    return M.answer(t, r, found, form)
end

-- the answer to a write whose own answer was lost, but which the server is known to have done. value: what it made, or nil
function M.done(t, r, value, form, id)
    if form == "word" or M.silent(r) then return word(t, r, mcp.MCMC_CODE_OK) end
    if not value and (form == "number" or r:has_flag("v")) then return M.unknown(t, r) end
    if form == "number" then return match(value, "%d+") .. "\r\n" end
    local flags, wanted = "", false
    for flag in gmatch(match(r:raw_line(), "^%S+ +%S+(.*)"), " (%a%S*)") do
        local letter = flag:sub(1, 1)
        if letter == "O" then flags = flags .. " " .. flag
        elseif flag == "k" then flags = flags .. " k" .. r:key() .. (r:has_flag("b") and " b" or "")
        elseif flag == "c" then flags = flags .. " c" .. id
        elseif flag == "v" then wanted = true end
    end
    if wanted then return "VA " .. #value .. flags .. "\r\n" .. value .. "\r\n" end
    return "HD" .. flags .. "\r\n"
end

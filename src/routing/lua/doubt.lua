-- Writes whose answers were lost: was it done? A server keeps the ids of what it was sent, and notes of those that have been passed
-- (version.lua), so the writer finds out before he does it again. Worker VM. Does not decide anew, nor spread.
local Copies = M.Copies
local match = string.match
local id_at = M.id_at

local DOUBTS <const>, CHAIN <const> = 256, 3 -- lost answers that are remembered, and looked for at once
local STEP <const>, LONGEST <const> = 0.001, 1000 -- seconds between two looks whether another has ended; ms, for one that never does

-- { name = key, id, sent = in which order, delta, placed = servers that took the version from
-- us, value = what it made, if known, open = its request has not ended }. void: known not to have been done.
local doubts, sent = {}, 0

-- a write is about to be sent -> which of them it is
function M.sends()
    sent = sent + 1
    return sent
end

-- how has lost its answer, or the authority before the copies had the outcome: it is in doubt whether it is done
function Copies:doubt(how, name)
    self.doubtful, self.hurt = true, true
    how.doubt = { name = name, id = how.id, sent = how.sent, delta = how.delta, sure = how.sure, placed = how.placed or {}, value = how.value }
    if how.id then
        if #doubts >= DOUBTS then table.remove(doubts, 1) end
        doubts[#doubts + 1] = how.doubt
        self:close_doubt() -- the one before, if it is in doubt once more
        self.open, how.doubt.open = how.doubt, true
    end
end

-- the request has ended, or begins another doubt
function Copies:close_doubt()
    if self.open then self.open.open, self.open = false, nil end
end

-- one server did what this proxy sent it in that order. What has no id, as a removal, can't find out whether it was done, and is done again
-- behind the writes of the key that were sent before: waits for them.
function Copies:go_behind(name, mine)
    local start, before = mcp.time_mono_millis(), {}
    for _, other in ipairs(doubts) do
        if other.open and other.name == name and other.sent < mine then before[#before + 1] = other end
    end
    for _, other in ipairs(before) do
        while other.open and mcp.time_mono_millis() - start < LONGEST do self.rctx:sleep(STEP) end
    end
end

-- the doubtful writes of a key, from `mine` on as they were sent: one server did them in that order, or none after the first it did not do
local function chain(mine)
    local list = { mine }
    for _, other in ipairs(doubts) do
        if other.name == mine.name and other.sent > mine.sent and not other.void and #list < CHAIN then
            list[#list + 1] = other
        end
    end
    table.sort(list, function(a, b) return a.sent < b.sent end)
    return list
end

-- what `mine` made, if `value` is what the j-th of the chain made; nil where that can't be told
local function back(list, j, value)
    for i = j, 2, -1 do value = M.before(value, list[i].delta) end
    return value
end

-- Was it done, though the answer was lost? Its version is what p has, or took from us, or has been passed by another write; or
-- a later one of this proxy was done. -> was it (nil if p no longer answers), its value (nil where another write has passed it and did
-- not know), is it what p has, and was only a later one found? Ours ran before that, but may have been refused.
function Copies:resolve(p, list, key, b, mine)
    local later, tickets, asked = chain(mine), {}, {}
    local q = M.request("mg " .. key .. b .. " v c u")
    local look = self:send(q, p)
    for j, other in ipairs(later) do
        tickets[j], asked[j] = {}, M.request("mg " .. M.PASSED .. other.id .. " v")
        for _, x in ipairs(list) do
            if #list > 1 and not self.dead[x] then tickets[j][x] = self:send(asked[j], x) end
        end
    end
    self:wait()
    local now = look and (self:got(look) or self:retry(q, p, look))
    if not now then return nil end
    local id, value = id_at(now), M.value_of(now)
    for j, other in ipairs(later) do
        if id == other.id then return true, mine.value or back(later, j, value), j == 1, j > 1 end
        if other.placed[p] then return true, mine.value, false, j > 1 end
        for _, x in ipairs(list) do
            local ticket = tickets[j][x]
            local note = ticket and (self:got(ticket) or self:retry(asked[j], x, ticket))
            if note and note:ok() and note:hit() then
                return true, mine.value or back(later, j, match(note:raw_string() or "", "\r\n(%d+)\r\n$")), false, j > 1
            end
        end
    end
    return false
end

-- Glances: while nobody is marked and no ring changes, a proxy reads two of the three members of Q, in turns. If both hold
-- what all three held when it read them last, the view goes on; else it reads the third one too (lease.lua). Worker VM.
--
-- A mark stands on two members at least, where every glance finds it, unless its owner reaches only one. That one a later glance
-- reads, and who has not read a member for AGO reads all: so after AGO more everybody knows of such a mark too.
local mono = mcp.time_mono_millis
local MEMBERS <const> = 3 -- with fewer, or while more are not known yet, all are read
local AGO <const> = M.LEASE + M.GRACE -- ms
local HOP <const> = 0.002 -- seconds that a mark may take from its first member to the next
local Copies = M.Copies

-- what all members held: q, text, read = when each was read last, by member. nil: read all.
local function glance_of(t)
    local V = t.memory
    local known = V.glance
    return V.calm and V.steady and known and known.q == t.q and known or nil
end

-- all members that answer have been read, from `start` on: may glances follow?
function Copies:may_glance(seen, start)
    local V, count, text, read = self.memory, 0, nil, {}
    V.glance = nil
    for y, member in pairs(seen) do
        local ring = member.view.ring
        if not ring or ring.epoch ~= V.ring.epoch or #member.view.marks > 0 or text and member.text ~= text then return end
        count, text, read[y] = count + 1, member.text, start
    end
    if count == MEMBERS then V.glance = { q = self.q, text = text, read = read } end
end

-- which member a reading that begins now need not ask, or nil; not `with`, which is asked something anyway. Mostly the same one for a
-- lease: on the same connections one reading comes back behind another (line.lua).
function Copies:left_out(start, with)
    local known, turn = glance_of(self), start // M.LEASE
    if not known then return nil end
    for i = 0, MEMBERS - 1 do
        local y = self.q[(turn + i) % MEMBERS + 1]
        if y ~= with and start - known.read[y] <= AGO then return y end
    end
end

-- do the members that were asked from `start` on, all but `out`, hold what is known?
function Copies:as_known(seen, out, start)
    local known = glance_of(self)
    for _, y in ipairs(self.q) do
        if y ~= out and not (known and seen[y] and seen[y].text == known.text) then return false end
    end
    for y in pairs(seen) do known.read[y] = math.max(known.read[y], start) end
    return true
end

-- ms that a mark on so many members needs more, until everybody knows: none where another is in force, as then nobody glances
function Copies:found_later(count)
    if count > 1 or #self.q < MEMBERS then return 0 end
    for _, rec in pairs(self.memory.servers) do
        if rec.bad > 0 and mono() >= rec.till then return 0 end
    end
    return AGO
end

-- on how many members each mark stands, by its name
function M.holders(seen)
    local holders = {}
    for _, member in pairs(seen) do
        for _, mark in ipairs(member.view.marks) do
            local name = M.mark_name(mark)
            holders[name] = (holders[name] or 0) + 1
        end
    end
    return holders
end

-- a new mark on only one member of several may just be on its way to the others: it is looked at once more before it is taken over
function Copies:on_its_way(holders, answers, start)
    local V, alone = self.memory, false
    for name, count in pairs(holders) do alone = alone or count == 1 and not V.known[name] end
    alone = alone and answers > 1 and self:found_later(1) > 0
    V.again = alone and (V.again or mono()) or nil
    if not alone or start > V.again then return false end
    self.rctx:sleep(HOP)
    return true
end

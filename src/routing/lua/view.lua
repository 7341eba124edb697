-- The view as text: what the reserved key `__mcp:v` on the first servers (Q) holds. Pure.
--   "<epoch> <S> <R> <oS> <oR>[ d<server>.<owner>| r<server>.<owner>]..."
-- epoch: of the ring in force; S servers and R copies of it (0: as the proxy's mode says, replicated on all and else one); oS
-- and oR those of the ring before, while both count, or 0. Of several lists S servers each, with a copy in each.
-- d: the owner, a proxy, can't reach that server or owes it writes. r: it no longer does, and the mark is about to go.
-- server: "<list>-<place>", both from 1, so that it keeps its name when lists grow. owner: of lease.lua, or "all", which
-- only a controller takes away. Does not read, write nor judge it (lease.lua, ring.lua, marks.lua).
local match, gmatch, format = string.match, string.gmatch, string.format

M.VIEW = "__mcp:v"

-- On every server from the cluster's first day, so a server without it has been emptied since, and gets a mark of owner
-- `all`. A controller that has filled the server again puts it back and then takes the mark away.
M.WHOLE = "__mcp:w"

-- The owner of a second mark that tells since when a server has mark `all` because it was emptied: hexadecimal ms since 1970.
M.EMPTIED = "^e(%x%x%x%x%x%x%x%x%x+)$"
function M.hollow(time) return 1 + time / 1e15 end

-- Since when a proxy's mark stands: hexadecimal ms since 1970, at the end of its owner. Where all servers of a key miss writes the one
-- marked last leads, so everybody has to read the same there, whichever members answer and in which order marks came to them.
local SINCE <const> = "^%x%x%x%x%x%x%x%xn(%x+)$"
function M.since(owner) return tonumber(match(owner, SINCE) or "0", 16) end
function M.stale(time) return 3 - time / 1e15 end

-- On a server that has been emptied and has its mark; without it it has been emptied once more.
M.NOTED = "__mcp:h"

-- With a version's cas id: on a server that never held that version, though what it holds now was built upon it. The value
-- is the number that the version was, or nothing.
M.PASSED = "__mcp:n:"

-- Who is active, and knows how much: `__mcp:p:<proxy>` = "<servers known> <epoch of the ring in force here>" on Q.
M.REGISTER = "__mcp:p:"

-- as above; place, before: which servers hold a key
function M.ring(epoch, S, R, oS, oR)
    return { epoch = epoch, S = S, R = R, oS = oS, oR = oR, place = S << 16 | R, before = oS > 0 and oS << 16 | oR or nil }
end

-- the ring's numbers as they stand in front of the marks
function M.ring_text(ring) return format("%d %d %d %d %d", ring.epoch, ring.S, ring.R, ring.oS, ring.oR) end

-- what tells a mark from others: a server has one of an owner
function M.mark_name(mark) return mark.server .. "." .. mark.owner end

-- text -> { ring = nil where it names none, marks = { { server, owner, state }, ... } in order, repeated = true where a
-- mark stood twice (they are appended; the last one counts) }. What it does not know it leaves out.
function M.parse_view(text)
    local view, all, last = { marks = {} }, {}, {}
    local epoch, S, R, oS, oR = match(text, "^(%d+) (%d+) (%d+) (%d+) (%d+)")
    if epoch then
        local int = math.tointeger
        view.ring = M.ring(int(epoch), int(S), int(R), int(oS), int(oR))
    end
    for state, server, owner in gmatch(text, " ([dr])(%d+%-%d+)%.(%w+)") do
        local mark = { server = server, owner = owner, state = state }
        all[#all + 1], last[M.mark_name(mark)] = mark, mark
    end
    for _, mark in ipairs(all) do
        if last[M.mark_name(mark)] == mark then view.marks[#view.marks + 1] = mark
        else view.repeated = true end
    end
    return view
end

-- ring, list of marks -> text
function M.print_view(ring, marks)
    local words = { M.ring_text(ring) }
    for i = 1, #marks do words[i + 1] = M.mark_text(marks[i]) end
    return table.concat(words, " ")
end

function M.mark_text(mark) return mark.state .. M.mark_name(mark) end

-- The gutter: a stand-in answers for a key while none of its servers is trusted. Worker VM.
-- A key's stand-in is the same for every proxy, and is one more server of the key, the last in order, for as long as the view
-- trusts none of the others: it is decided there, the others are sent the outcome too and are owed what they miss. What a
-- stand-in keeps lives for STAND_IN at most; a server that is trusted again keeps its mark `r` for longer than that, and
-- meanwhile every write of its keys takes them from the stand-in first. So nothing that a stand-in had is read later.
-- docs/coherence.md has the rules. Does not set marks (marks.lua) nor compare (repair.lua).
local format, match, gsub = string.format, string.match, string.gsub
local mono = mcp.time_mono_millis
local Copies = M.Copies

local STAND_IN <const> = M.STAND_IN
-- ms that a mark stays `r`: what was put at a stand-in last is gone by then, also by a clock that ticks every second, and late.
local KEEP <const> = (STAND_IN + 2) * 1000
local MONTH <const> = 2592000 -- seconds; memcached takes more for a date

-- a lifetime as a client says it -> one that ends within STAND_IN
local function short(seconds)
    local number = tonumber(seconds)
    if not number or number < 0 then return seconds end
    if number > MONTH then
        number = number - mcp.time_real_millis() // 1000
        if number <= 0 then return "-1" end
    elseif number == 0 then
        number = STAND_IN
    end
    return format("%d", math.min(number, STAND_IN))
end

-- where a line of text names a lifetime
local TEXT <const> = {
    set = "^(%S+ +%S+ +%S+ +)(%-?%d+)(.*)$", touch = "^(%S+ +%S+ +)(%-?%d+)(.*)$", gat = "^(%S+ +)(%-?%d+)(.*)$",
}
TEXT.add, TEXT.replace, TEXT.append, TEXT.prepend, TEXT.cas, TEXT.gats = TEXT.set, TEXT.set, TEXT.set, TEXT.set, TEXT.set, TEXT.gat

-- the line of a request -> the same with no lifetime above STAND_IN; nil for one that can name none
function M.shortened(line)
    local verb = match(line, "^%l+")
    if TEXT[verb] then
        local before, seconds, after = match(line, TEXT[verb])
        return before and before .. short(seconds) .. after
    end
    local name, flags = match(line, "^(m[sgad] +%S+)(.*)$")
    if not name then return nil end
    local least
    flags = gsub(flags, "( [TN])(%-?%d+)", function(flag, seconds)
        least = least or flag == " T"
        return flag .. short(seconds)
    end)
    if verb == "ms" and not least then flags = flags .. " T" .. STAND_IN end
    return name .. flags
end

local Relief = {} -- what a route with stand-ins does in another way

-- q as stand-in x is to get it
local function for_stand_in(t, q, x)
    if x <= t.regulars then return q end
    local line = match(q:raw_line(), "^[^\r\n]*")
    local other = M.shortened(line)
    return other and other ~= line and M.request(other, q) or q
end

function Relief:send(q, x) return Copies.send(self, for_stand_in(self, q, x), x) end
function Relief:ask(q, x) return Copies.ask(self, for_stand_in(self, q, x), x) end

-- marks count with one copy too: all proxies go to the stand-in together
function Relief:has_copies() return true end

-- the servers of a key, its stand-in last
function Relief:with_stand_in(list, key)
    local all = { table.unpack(list) }
    all[#all + 1] = self.regulars + 1 + M.jump(M.hash(key), self.stand_ins)
    return all
end

-- takes from the view which servers are trusted again while their keys may still be at a stand-in, and which marks of these
-- stand there so long that their owners must be gone
function Relief:keep(marks)
    local V, kept, now = self.V, nil, mono()
    for _, mark in ipairs(marks) do
        if mark.state == "r" and not match(mark.owner, M.EMPTIED) then
            mark.over = now - mark.since > 2 * KEEP
            kept = kept or {}
            kept[mark.server] = true
        end
    end
    V.kept = kept
end

-- nobody regular is trusted: p is the stand-in, or all are dirty and p is the one that became so last
local function in_need(t, p) return p > t.regulars or t.servers[p].bad >= 2 end

-- the authority. Where a request has begun with the regular servers alone and none of them is trusted by now, it begins anew.
function Relief:lead(list, doubt)
    local p = Copies.lead(self, self.everybody or list, doubt)
    if p and self.alone and not self.V.calm and in_need(self, p) then
        self.left = true
        return nil
    end
    return p
end

-- a write takes the key from the stand-in before it is done, while that may have it from the time before
local function forget(t, list, everybody, key, b)
    for i = 1, #list do
        if t.V.kept[t.servers[list[i]].name] then
            t:all(M.remove_key(key, b), { everybody[#everybody] }, nil, key, b)
            return
        end
    end
end

-- does the request at the key's servers, or, while none of them is trusted, with the stand-in too. While `alone` is set, a
-- request that reaches none of them says so by `left`, and comes again (reply.lua, ring.lua).
function Relief:relieved(r, cmd, key, list, class, act)
    local V, on = self.V, list
    self.everybody, self.alone = nil, true
    if not V.calm or V.kept then
        local everybody = self:with_stand_in(list, key)
        local p = Copies.lead(self, everybody)
        if not p or in_need(self, p) then
            on, self.alone = everybody, false
        elseif class ~= M.READ and V.kept then
            forget(self, list, everybody, key, r:has_flag("b") and " b" or "")
        end
        self.everybody = everybody
    end
    local res = not self.left and act(self, r, cmd, key, on) or self.out
    self.everybody, self.alone = nil, false
    return res
end

-- adds to what a route knows (lease.lua) its stand-ins, numbered after all regular servers
function M.relief(known, conf, record)
    if not conf.gutter or not known.V then return known end
    known.regulars, known.stand_ins, known.kept_for = #known.servers, #conf.gutter, KEEP
    for i = 1, #conf.gutter do
        local rec = record(known.V, "0-" .. i)
        rec.floor = 1.5 -- it comes after servers that were merely emptied
        known.servers[#known.servers + 1] = rec
    end
    for name, method in pairs(Relief) do known[name] = method end
    return known
end

-- A memcached server's items and the commands that the library sends, as memcached 1.6.45 answers them. Times in ms.
local Server = {}
Server.__index = Server

-- first: cas ids of its own begin above that; a real one's begin at 0 again, so a client may hold one from before a restart
function new_server(first) return setmetatable({ items = {}, cas = first or 0 }, Server) end

local function live(self, key, now)
    local item = self.items[key]
    if item and item.exp and item.exp <= now then
        self.items[key] = nil
        return nil
    end
    return item
end

local function deadline(ttl, now)
    ttl = tonumber(ttl)
    if not ttl or ttl == 0 then return nil end
    if ttl < 0 then return now end
    return (math.floor(now / 1000) + ttl) * 1000
end

local function words(line)
    local list = {}
    for word in string.gmatch(line, "%S+") do list[#list + 1] = word end
    return list
end

local function flags(list, from)
    local set = {}
    for i = from, #list do set[list[i]:sub(1, 1)] = list[i]:sub(2) end
    return set
end

function Server:put(key, value, client, ttl, id, now)
    self.cas = self.cas + 1
    self.items[key] = { value = value, flags = client, exp = deadline(ttl, now), cas = id or tostring(self.cas), stale = false }
end

local function described(item, key, list, now)
    local out = {}
    for i = 3, #list do
        local letter = list[i]:sub(1, 1)
        if letter == "c" then out[#out + 1] = "c" .. item.cas
        elseif letter == "f" then out[#out + 1] = "f" .. item.flags
        elseif letter == "s" then out[#out + 1] = "s" .. #item.value
        elseif letter == "k" then out[#out + 1] = "k" .. key
        elseif letter == "t" then out[#out + 1] = "t" .. (item.exp and math.ceil((item.exp - now) / 1000) or -1)
        end
    end
    return #out > 0 and " " .. table.concat(out, " ") or ""
end

local do_ = {}

function do_.get(s, list, _, now)
    local item = live(s, list[2], now)
    if not item then return "END\r\n" end
    local cas = list[1] == "gets" and " " .. item.cas or ""
    item.held = true -- by the LRU maintainer, until it runs again: here until the number is counted on
    return "VALUE " .. list[2] .. " " .. item.flags .. " " .. #item.value .. cas .. "\r\n" .. item.value .. "\r\nEND\r\n"
end
do_.gets = do_.get

function do_.delete(s, list, _, now)
    if not live(s, list[2], now) then return "NOT_FOUND\r\n" end
    s.items[list[2]] = nil
    return "DELETED\r\n"
end

function do_.touch(s, list, _, now)
    local item = live(s, list[2], now)
    if not item then return "NOT_FOUND\r\n" end
    item.exp = deadline(list[3], now)
    return "TOUCHED\r\n"
end

function do_.me(s, list, _, now)
    local item = live(s, list[2], now)
    if not item then return "EN\r\n" end
    return "ME " .. list[2] .. " exp=-1 la=1 cas=" .. item.cas .. " fetch=no cls=1 size=60\r\n"
end

function do_.mg(s, list, _, now)
    local key, set = list[2], flags(list, 3)
    local item = live(s, key, now)
    local won = ""
    if not item then
        if not set.N then return "EN\r\n" end
        s:put(key, "", "0", set.N, set.E, now)
        item, won = s.items[key], " W"
    end
    if set.T then item.exp = deadline(set.T, now) end
    local more = described(item, key, list, now) .. won
    if not set.v then return "HD" .. more .. "\r\n" end
    return "VA " .. #item.value .. more .. "\r\n" .. item.value .. "\r\n"
end

function do_.ms(s, list, value, now)
    local key, set = list[2], flags(list, 4)
    local item, mode = live(s, key, now), string.upper(set.M or "S")
    if set.C then
        if not item then return "NF\r\n" end
        if item.cas ~= set.C then return "EX\r\n" end
    end
    if mode == "E" and item then return "NS\r\n" end
    if mode == "R" and not item then return "NS\r\n" end
    if mode == "A" or mode == "P" then
        if not item and not set.N then return "NS\r\n" end
        if item then
            item.value = mode == "A" and item.value .. value or value .. item.value
            s.cas = s.cas + 1
            item.cas = set.E or tostring(s.cas)
            return "HD\r\n"
        end
        set.T = set.N
    end
    s:put(key, value, set.F or "0", set.T, set.E, now)
    return "HD\r\n"
end

function do_.ma(s, list, _, now)
    local key, set = list[2], flags(list, 3)
    local item = live(s, key, now)
    if not item then
        if not set.N then return "NF\r\n" end
        s:put(key, set.J or "0", "0", set.N, set.E, now)
        item = s.items[key]
    else
        local number = math.tointeger(tonumber(item.value))
        if not number then return "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n" end
        local delta = math.tointeger(tonumber(set.D or "1"))
        number = string.upper(set.M or "I") == "I" and number + delta or math.max(number - delta, 0)
        -- a number that gets longer, or that somebody holds, becomes a new item, and E is not heeded
        local anew = item.held or #tostring(number) > #item.value
        item.value, item.held = tostring(number), false
        s.cas = s.cas + 1
        item.cas = not anew and set.E or tostring(s.cas)
    end
    local more = described(item, key, list, now)
    if not set.v then return "HD" .. more .. "\r\n" end
    return "VA " .. #item.value .. more .. "\r\n" .. item.value .. "\r\n"
end

function do_.md(s, list, _, now)
    local key, set = list[2], flags(list, 3)
    local item = live(s, key, now)
    if not item then return "NF\r\n" end
    if set.C and item.cas ~= set.C then return "EX\r\n" end
    s.items[key] = nil
    return "HD\r\n"
end

-- text storage commands, which go as they are where a key has one copy; each as its ms
local TEXT <const> = { set = "", add = " ME", replace = " MR", append = " MA", prepend = " MP", cas = " C" }
local WORD <const> = { HD = "STORED", NS = "NOT_STORED", EX = "EXISTS", NF = "NOT_FOUND" }
for verb, mode in pairs(TEXT) do
    do_[verb] = function(s, list, value, now)
        local line = ("ms %s %s F%s T%s%s"):format(list[2], list[5], list[3], list[4], verb == "cas" and mode .. list[6] or mode)
        return WORD[do_.ms(s, words(line), value, now):sub(1, 2)] .. "\r\n"
    end
end
function do_.incr(s, list, _, now)
    local text = do_.ma(s, words("ma " .. list[2] .. " D" .. list[3] .. " v"), nil, now)
    return text:match("^VA %d+\r\n(.*)$") or text:match("^CLIENT_ERROR.*") or "NOT_FOUND\r\n"
end

-- line without its end, value with its end if any -> the answer
function Server:answer(line, value, now)
    local list = words(line)
    local act = do_[list[1]]
    if not act then return "ERROR\r\n" end
    return act(self, list, value and value:sub(1, -3), now)
end



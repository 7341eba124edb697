-- What classes.lua makes of a client's line: its class, and the bytes that servers get for it.
local NAMES = {}
for name, number in pairs({ READ = M.READ, TOUCH = M.TOUCH, STORE = M.STORE, REMOVE = M.REMOVE, UPDATE = M.UPDATE }) do NAMES[number] = name end

for line, class in pairs({
    ["get k"] = "READ", ["gets k"] = "READ", ["mg k v f"] = "READ", ["mg k"] = "READ", ["me k"] = "READ", ["mg TNE v"] = "READ",
    ["gat 5 k"] = "TOUCH", ["gats 5 k"] = "TOUCH", ["touch k 5"] = "TOUCH", ["mg k v T5"] = "TOUCH", ["mg k N30 v"] = "TOUCH",
    ["mg k R5"] = "TOUCH", ["mg  k  T5"] = "TOUCH", ["mg k v E5"] = "TOUCH",
    ["set k 0 0 1"] = "STORE", ["ms k 1"] = "STORE", ["ms k 1 T5 F1"] = "STORE", ["ms MI 1 T5"] = "STORE",
    ["ms k 1 C5"] = "UPDATE", ["ms k 1 MA"] = "UPDATE", ["ms k 1 T5 I"] = "UPDATE", ["ms k 1 E9"] = "UPDATE", ["ms k 1 MA N5"] = "UPDATE",
    ["delete k"] = "REMOVE", ["md k"] = "REMOVE", ["md k q"] = "REMOVE", ["md CIx q"] = "REMOVE",
    ["md k C5"] = "UPDATE", ["md k I T5"] = "UPDATE", ["md k x"] = "UPDATE",
    ["add k 0 0 1"] = "UPDATE", ["replace k 0 0 1"] = "UPDATE", ["append k 0 0 1"] = "UPDATE", ["cas k 0 0 1 5"] = "UPDATE",
    ["incr k 1"] = "UPDATE", ["decr k 1"] = "UPDATE", ["ma k"] = "UPDATE",
}) do
    local r = request(line)
    same(NAMES[M.class(r, r:command())], class, line)
end

for line, creates in pairs({ ["add k 0 0 1"] = true, ["mg k N30"] = true, ["ma k N0 J1"] = true, ["ms k 1 ME"] = true, ["ms k 1 MA N5"] = true,
    ["ms k 1"] = false, ["ms k 1 MR"] = false, ["mg k v"] = false, ["replace k 0 0 1"] = false, ["ma N5"] = false }) do
    local r = request(line)
    claim((M.creates(r, r:command()) and true or false) == creates, "%s creates: %s", line, not creates)
end

for line, seconds in pairs({ ["touch k 30"] = "30", ["touch k -1"] = "-1", ["gat 5 k"] = "5", ["gats 0 k"] = "0", ["mg k v T99"] = "99" }) do
    local r = request(line)
    same(M.lifetime(r, r:command()), seconds, line)
end

-- what is sent, with <id> for the cas id; forms of the answer; and whether a copy can be made of it
for line, wanted in pairs({
    ["set k 1 30 5"] = { "ms k 5 F1 T30 E<id>", "word", " C7" },
    ["add k 0 0 5"] = { "ms k 5 F0 T0 E<id> ME", "word", " C7" },
    ["replace k 0 -1 5"] = { "ms k 5 F0 T-1 E<id> MR", "word", " C7" },
    ["append k 0 0 5"] = { "ms k 5 F0 T0 E<id> MA", "word" },
    ["prepend k 0 0 5"] = { "ms k 5 F0 T0 E<id> MP", "word" },
    ["cas k 0 0 5 99"] = { "ms k 5 F0 T0 E<id> C99", "word", " C7" },
    ["incr k 5"] = { "ma k D5 MI v t E<id>", "number" },
    ["decr k 5"] = { "ma k D5 MD v t E<id>", "number" },
    ["ms k 5 T30"] = { "ms k 5 T30 E<id>", nil, " C7" },
    ["ms k 5 MA"] = { "ms k 5 MA E<id>", nil },
    ["ma k"] = { "ma k E<id>", nil },
}) do
    local r = request(line)
    local q, id, form, make = M.translate(r, r:command(), r:key())
    local sent = q.line:gsub("\r\n$", "")
    claim(id and #id >= 10, "%s carries no id", line)
    same(sent:gsub(" E" .. id, " E<id>"), wanted[1], line)
    same(form, wanted[2], line .. " answers")
    claim((make ~= nil) == (wanted[3] ~= nil), "%s: a copy can be made: %s", line, make ~= nil)
    if make then
        local copy = make(wanted[3]).line:gsub("\r\n$", "")
        claim(copy:find(" E" .. id, 1, true) and copy:sub(-#wanted[3]) == wanted[3], "%s: its copy is %q", line, copy)
        claim(not copy:find(" M[AERP]"), "%s: a copy does not decide again: %q", line, copy)
    end
end

-- what no ms can say as memcached would goes as it is
for _, line in ipairs({ "set k 4294967296 0 1", "set k -1 0 1", "set k x 0 1", "set k 0 1234567890 1", "add k 0 0 1000000", "cas k 0 0 5", "incr k -1", "incr k x",
    "incr k 99999999999999999999", "ma k c", "delete k", "md k" }) do
    local r = request(line)
    local q, id = M.translate(r, r:command(), r:key())
    claim(q == r and id == nil and r.line == line, "%s is sent as %q", line, q.line)
end

-- two writes never share an id
local seen = {}
for _ = 1, 1000 do
    local id = M.new_id()
    claim(not seen[id] and math.tointeger(tonumber(id)) > 0, "the id %s comes twice or is no positive number", id)
    seen[id] = true
end

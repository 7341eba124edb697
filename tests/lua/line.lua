-- Who goes first, by line.lua: requests of one connection for one key. To sleep is counted, and takes no time.
local slept = 0

local V = { lines = {}, waiting = 0, swept = 0 }
local function request(connection)
    local rctx = { cfd = function() return connection end, sleep = function() slept = slept + 1 end }
    return setmetatable({ memory = V, now = NOW, rctx = rctx }, { __index = M.Copies })
end

local write, read, other = request(1), request(1), request(2)
same(write:line_up("k", true), false, "the first waits for nobody")
same(read:line_up("k", false), true, "who comes behind it waits, though he would not have to")
same(other:line_up("k", false), false, "another connection does not")
same(other.line, nil, "nor does it stand in line")
same(request(1):line_up("other", false), false, "nor does another key")
same(read:must_wait(), true, "not the first")
same(slept, 1, "looks again later")
same(write:must_wait(), nil, "the first goes")
same(read:must_wait(), nil, "then the second")
same(V.waiting, 0, "nobody waits")
same(next(V.lines), nil, "no line is left")

-- no more than 16: they go unordered
for _ = 1, 16 do request(1):line_up("hot", true) end
local late = request(1)
same(late:line_up("hot", true), true, "it asks for the view itself")
same(late.line, nil, "but does not stand in line")

-- they end in errors: whoever comes a second later waits for none of them
NOW = NOW + 1001
local next_one = request(1)
same(next_one:line_up("hot", true), false, "a line of those is forgotten")
same(V.waiting, 1, "they are not counted")
same(next_one:must_wait(), nil, "goes at once")
same(V.waiting, 0, "nobody waits again")

-- one ends so, and others stand behind it: they wait for a second at most
local gone, patient = request(1), request(1)
gone:line_up("k", true)
patient:line_up("k", true)
same(patient:must_wait(), true, "it may be busy")
NOW = NOW + 1000
same(patient:must_wait(), nil, "it may be gone")

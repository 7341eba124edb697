-- What the client reads, by reply.lua: silence, words and numbers, and the best of several answers.
local t = { replies = M.replies(), out = {} }

for line, silent in pairs({ ["set k 0 0 1 noreply"] = true, ["delete k noreply "] = true, ["incr k 1 noreplY"] = true, ["touch k 5 noreply"] = true,
    ["set k 0 0 1"] = false, ["get noreply"] = false, ["md noreply"] = false, ["set noreply 0 0 1"] = false, ["delete noreply"] = false }) do
    claim((M.silent(request(line)) and true or false) == silent, "%q is silent: %s", line, not silent)
end

local function answer(line, code, raw, form)
    local res = response(code, raw)
    local got = M.answer(t, request(line), res, form)
    if got == res then return "as it is" end
    return got == t.out and t.out.text or got
end
same(answer("set k 0 0 1", "OK", "HD\r\n", "word"), "STORED", "set")
same(answer("add k 0 0 1", "NOT_STORED", "NS\r\n", "word"), "NOT_STORED", "add")
same(answer("cas k 0 0 1 5", "EXISTS", "EX\r\n", "word"), "EXISTS", "cas")
same(answer("cas k 0 0 1 5", "NOT_FOUND", "NF\r\n", "word"), "NOT_FOUND", "cas of nothing")
same(answer("incr k 1", "OK", "VA 2\r\n42\r\n", "number"), "42\r\n", "incr")
same(answer("incr k 1", "NOT_FOUND", "NF\r\n", "number"), "NOT_FOUND", "incr of nothing")
same(answer("set k 0 0 1", "SERVER_ERROR", "SERVER_ERROR out of memory\r\n", "word"), "as it is", "an error")
same(answer("ms k 1", "OK", "HD\r\n", nil), "as it is", "a meta command")
same(answer("set k 0 0 1 noreply", "SERVER_ERROR", "SERVER_ERROR x\r\n", "word"), "STORED", "an error behind noreply")

-- no server answers: reads miss, writes say so, silence stays silent
local function unreachable(line)
    local r = request(line)
    M.class(r, r:command()) -- as a route does first of all
    local got = M.unreachable(t, r, r:command())
    return got == t.out and t.out.text or got
end
for _, line in ipairs({ "get k", "gets k", "mg k v", "gat 5 k", "gats 5 k", "mg k T5", "me k" }) do same(unreachable(line), "", line) end
for _, line in ipairs({ "set k 0 0 1", "touch k 5", "delete k", "incr k 1", "ms k 1", "md k", "ma k", "add k 0 0 1" }) do
    same(unreachable(line), "SERVER_ERROR no cache server of this key answers\r\n", line)
end
same(unreachable("set k 0 0 1 noreply"), "STORED", "a write behind noreply")

-- it worked, then "not there", then an error; of equals the first in key order
local ok, missing, failed = response("OK", "HD\r\n"), response("NOT_FOUND", "NF\r\n"), response("SERVER_ERROR", "SERVER_ERROR x\r\n")
local function best(...)
    local answers, list = {}, {}
    for i, res in ipairs({ ... }) do
        answers[i], list[i] = res or nil, i
    end
    local r = request("md k")
    return M.best(t, r, r:command(), answers, list)
end
claim(best(failed, missing, ok) == ok, "an answer that it worked loses")
claim(best(failed, missing) == missing, "an error wins over `not there`")
claim(best(false, failed) == failed, "silence wins over an error")
claim(best(ok, response("OK", "HD\r\n")) == ok, "of equals the second wins")
same(best(false, false), "SERVER_ERROR no cache server of this key answers\r\n", "nobody")

-- What data.lua reads: data, and nothing that could run. Each wrong field is named (tests/wire/reload.rs has them all).
local GOOD = [[
-- memcached-injector: failover on cache/memcached, ring epoch 1
{
  format = 1,
  mode = "failover",
  cluster = "cache/memcached",
  epoch = 1,
  consistency = "coherent",
  copies = 1,
  replicas = { { "a.cache.svc.:11211", "[::1]:11212" } },
  local_cache = { server = "internal", ttl = 10 },
}
]]
local conf, err = M.read(GOOD)
claim(conf, "a good one is refused: %s", err)
same(conf.replicas[1][2], "[::1]:11212", "the second server")

for text, why in pairs({
    [""] = "is not one table", ["5"] = "is not one table", ["{}, {}"] = "is not one table", [GOOD .. ", nil"] = "is not one table", ["{ format = 1"] = "expected",
    ["os.exit()"] = 'has a "."', ["{ format = os.exit() }"] = 'has a "."', ["{ (function() end)() }"] = 'has a "("', ["{ a = ('x'):rep(9) }"] = 'has a "("',
    ["{ [1] = 2 }"] = 'has a "["', ['{ a = "x" .. "y" }'] = 'has a "."', ["{ a = 'x' }"] = 'has a "\'"', ["{ a = [[x]] }"] = 'has a "["',
    ['{ a = "\\x41" }'] = 'has a """', ['{ a = "x\ny" }'] = 'has a """', ["{ a = #b }"] = 'has a "#"', ["{ a = ~1 }"] = 'has a "~"',
    ["{ a = 1 + 1 }"] = 'has a "+"', ["{ format = x }"] = "format", ["{ format = 1e9 }"] = "format", ["--[[ x ]] { format = 1 }"] = 'has a "-"', ['--[[ x ]] ("x"):rep(9)'] = 'has a "-"',
    ["{ function end }"] = "expected", ["{ format = 1, goto x }"] = "expected",
}) do
    local read, said = M.read(text)
    claim(read == nil, "%q is read", text)
    claim(type(said) == "string" and #said > 0, "%q is refused without a reason", text)
    claim(said:find(why, 1, true), "%q is refused with %q, wanted %q", text, said, why)
end

for server, wanted in pairs({ ["a:1"] = "a 1", ["a-b.c_d.:65535"] = "a-b.c_d. 65535", ["[fe80::1]:11211"] = "fe80::1 11211",
    ["a"] = "no", ["a:0"] = "no", ["a:65536"] = "no", ["a:000001"] = "no", [":1"] = "no", ["a b:1"] = "no", ["[a:1"] = "no", ["::1:1"] = "no",
    [("a"):rep(255) .. ":1"] = "no", ["a:1 "] = "no", ["a:-1"] = "no", ["a:1.5"] = "no" }) do
    local host, port = M.address(server)
    same(host and host .. " " .. port or "no", wanted, server)
end

-- What gutter.lua makes of a request for a stand-in: no lifetime above STAND_IN (10 s), whatever the form. mcp's clock says 1 s.
for line, wanted in pairs({
    ["set k 0 0 1"] = "set k 0 10 1", ["set k 0 5 1"] = "set k 0 5 1", ["set k 0 1000 1 noreply"] = "set k 0 10 1 noreply",
    ["set k 0 -1 1"] = "set k 0 -1 1", ["set k 0 2592000 1"] = "set k 0 10 1", ["set k 0 2592006 1"] = "set k 0 10 1",
    ["cas k 7 0 1 99"] = "cas k 7 10 1 99", ["append k 0 0 1"] = "append k 0 10 1",
    ["touch k 0"] = "touch k 10", ["touch k -1"] = "touch k -1", ["gat 0 k"] = "gat 10 k", ["gats 3 k"] = "gats 3 k",
    ["ms k 1"] = "ms k 1 T10", ["ms k 1 T0"] = "ms k 1 T10", ["ms k 1 T3 F1"] = "ms k 1 T3 F1", ["ms k 1 T-1"] = "ms k 1 T-1",
    ["ms k 1 MA N1000"] = "ms k 1 MA N10 T10", ["ms T99 1 T99"] = "ms T99 1 T10", ["mg k v T30"] = "mg k v T10", ["mg k N30 v"] = "mg k N10 v",
    ["mg T30 v"] = "mg T30 v", ["ma k N0 J5"] = "ma k N10 J5", ["md k I T30"] = "md k I T10", ["md k C5"] = "md k C5",
}) do
    same(M.shortened(line), wanted, line)
end
for _, line in ipairs({ "get k", "gets k", "delete k", "incr k 1", "me k" }) do same(M.shortened(line), nil, line) end

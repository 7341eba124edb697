-- In front of each claim when plain Lua runs it: the shared table, the few of memcached's names that the pure files use, and
-- stand-ins for its requests and answers. Usage: lua5.4 prelude.lua FOLDER CLAIMS FILE..., all files of src/routing/lua.
M = { STAND_IN = 10, TIMEOUT = 0.15, LEASE = 65, GRACE = 25, DELTA = 40, Copies = {} }
memcached_proxy = {}

function claim(holds, ...) if not holds then error(string.format(...), 2) end end

-- the same text, or an error that shows both
function same(got, wanted, what)
    claim(got == wanted, "%s: got %q, wanted %q", what, tostring(got), tostring(wanted))
end

NOW = 1000 -- ms

mcp = { time_real_millis = function() return 1000 end, time_mono_millis = function() return NOW end, WAIT_ANY = 1, WAIT_GOOD = 2 }
for number, name in ipairs({ "GET", "GETS", "MG", "ME", "GAT", "GATS", "TOUCH", "SET", "MS", "DELETE", "MD", "CAS", "ADD", "REPLACE",
    "APPEND", "PREPEND", "INCR", "DECR", "MA" }) do mcp["CMD_" .. name] = number end
for number, name in ipairs({ "OK", "NOT_STORED", "EXISTS", "NOT_FOUND", "END", "CLIENT_ERROR", "SERVER_ERROR" }) do
    mcp["MCMC_CODE_" .. name] = number
end
-- a request of our own is its line
function mcp.request(line, value)
    local q = { line = line, value = value }
    function q:flag_add(flag, token)
        self.line = self.line:gsub("\r\n$", " " .. flag .. token .. "%0")
        return true
    end
    return q
end
-- a mutator writes what it says into the answer
function mcp.res_mutator_new(what) return function(out) out.text = what.val or "" end end

-- a client's request, from its line
function request(line)
    local words = {}
    for word in line:gmatch("%S+") do words[#words + 1] = word end
    local r = { line = line }
    function r:raw_line() return self.line end
    function r:command() return mcp["CMD_" .. words[1]:upper()] end
    function r:key() return words[words[1]:find("^gat") and 3 or 2] end
    function r:has_flag(flag)
        for i = 3, #words do if words[i]:sub(1, 1) == flag then return true end end
        return false
    end
    function r:flag_add(flag, token)
        self.line = self.line .. " " .. flag .. token
        return true
    end
    return r
end

-- a server's answer: its code, and what came
function response(code, raw)
    local res = {}
    function res:code() return mcp["MCMC_CODE_" .. code] end
    function res:ok() return code ~= "CLIENT_ERROR" and code ~= "SERVER_ERROR" end
    function res:hit() return code == "OK" end
    function res:raw_string() return raw end
    function res:line() return (raw or ""):match("^%S+ ?([^\r\n]*)") end
    return res
end

VECTORS = assert(io.open((arg[0]:gsub("[^/]*$", "order-vectors.txt")))):read("a")

for i = 3, #arg do dofile(arg[1] .. "/" .. arg[i]) end
dofile(arg[2])

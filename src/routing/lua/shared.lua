-- The one table that the files of the library share. It holds no logic.
--
-- memcached loads ONE file, twice: in the configuration VM (which checks the data and makes pools) and in every worker
-- VM (which answers requests). library.rs joins the files of this folder into it, in the order that it lists. Each file
-- stands in its own `do ... end`, because Lua allows a chunk 200 local names; what others need it puts into M.
-- A function's header says which VM runs it; without a word it is pure and runs in any Lua 5.4.
local M = {}

-- Seconds. A request waits for a server that does not answer at most this long, so a stall stays under 250 ms with the
-- work around it; afterwards the server counts as down and fails at once until it answers again (asked every second).
M.TIMEOUT = 0.2

-- What survives a reload, the library's only global besides the two entry points of main.lua.
-- Configuration VM: good, epoch, seen (reload.lua). Worker VM: node, sequence (item.lua).
memcached_proxy = memcached_proxy or {}

-- The one table that the files of the library share. It holds no logic.
--
-- memcached loads ONE file, twice: in the configuration VM (which checks the data and makes pools) and in every worker
-- VM (which answers requests). library.rs joins the files of this folder into it, in the order that it lists. Each file
-- stands in its own `do ... end`, because Lua allows a chunk 200 local names; what others need it puts into M.
-- A function's header says which VM runs it; without a word it is pure and runs in any Lua 5.4.
local M = {}

-- Seconds. A request waits for a server that does not answer at most this long; afterwards the server counts as down and
-- fails at once until it answers again (asked every second). TIMEOUT + LEASE + GRACE + HEAD is the stall of the requests
-- that find a server dead, and stays under 250 ms.
M.TIMEOUT = 0.14

-- Milliseconds; docs/coherence.md says why these. LEASE: how long a view may be used, from the start of its reading.
-- GRACE: how long an operation that began under a valid view may still take effect. HEAD: how much earlier than all others
-- an operation whose answer was lost goes to the next authority. DELTA: before a missing copy is looked after.
M.LEASE, M.GRACE, M.HEAD, M.DELTA = 65, 25, 15, 40

-- Milliseconds from when something stands in the view until it is in force: every view from before has run out by then.
M.FORCE = M.LEASE + M.GRACE + M.HEAD

-- Milliseconds for which nothing was found missing until servers that all have been emptied lead again (marks.lua).
M.QUIET = 60000

-- Seconds that a stand-in keeps a key at most (gutter.lua). Long enough that a key which is asked for often is looked up anew
-- only now and then; short enough that the writes of a server's keys pay a removal more only for a moment after its return.
M.STAND_IN = 10

-- Said in one line by a memcached that has the proxy but not all that this library uses; it does not start then.
M.TOO_OLD = "memcached-proxy: this memcached is too old, 1.6.40 or newer is needed"

-- What survives a reload, the library's only global besides the two entry points of main.lua.
-- Configuration VM: good, epoch, seen (reload.lua), getent, where (names.lua). Worker VM: node, sequence (item.lua), view (lease.lua).
memcached_proxy = memcached_proxy or {}

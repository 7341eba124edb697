-- Readings of the view under way, by lease.lua: as many as have begun and not ended, but none for ever.
local V = { reading = 0 }
same(M.reading(V), 0, "nobody reads")
V.reading, V.oldest = 2, NOW
NOW = NOW + 280
same(M.reading(V), 2, "their servers may yet answer")
NOW = NOW + 21
same(M.reading(V), 0, "they ended in errors, and hold up nobody")

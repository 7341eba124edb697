-- The view as text, by view.lua: what is written is read back, and what somebody else wrote can't break a proxy.
local RING = "7 3 2 0 0"

local view = M.parse_view(RING .. " d1-2.abc r2-1.def d1-2.all")
same(view.ring.epoch, 7, "epoch")
same(#view.marks, 3, "marks")
same(M.print_view(view.ring, view.marks), RING .. " d1-2.abc r2-1.def d1-2.all", "written again")
claim(not view.repeated, "nothing stands twice")

-- marks are appended: one that stands twice is one, and a server that is lost again is dirty
view = M.parse_view(RING .. " r1-2.abc d1-2.abc")
same(#view.marks, 1, "a mark that stands twice")
same(view.marks[1].state, "d", "its state")
claim(view.repeated, "it is said that it stands twice")

-- a mark was appended where the view was lost
view = M.parse_view(" d1-1.abc")
claim(view.ring == nil and #view.marks == 1, "a mark without a ring counts")

for _, text in ipairs({ "", "x", "7 3", "a b c d e", RING .. " x1-1.abc", RING .. " d1.abc", RING .. " d1-1", ("d"):rep(1000) }) do
    same(#M.parse_view(text).marks, 0, "marks in " .. text:sub(1, 30))
end

-- a proxy's mark ends with the time of the loss; a mark of another owner, or of an older library, tells none
for owner, time in pairs({ ["0a1b2c3dn19ab"] = 0x19ab, ["0a1b2c3dn1"] = 1, ["0a1b2c3d"] = 0, all = 0, e019abcdef01 = 0, ["0a1b2c3dn"] = 0, abc = 0 }) do
    same(M.since(owner), time, "since when " .. owner .. " stands")
end

-- A proxy adds a key at its leader while the copies have yet to hear of its removal, and hears no more of the leader when it looks whether that was
-- emptied. Another one reads what was added and removes it. On stdout what that one and at last the first one read.
-- Globals: SEED; new_scene, tell, far (scene.lua).
math.randomseed(SEED)
local KEY <const> = "text"
local world, ask, set, meet = new_scene(3, 2)
local leads = meet(KEY)
set(1, KEY, 1)
world.run(world.now + 5)
far(world, 1, leads, 10)
local memory = world.servers[leads].memory
local answer = memory.answer
function memory.answer(self, line, ...)
    if line:find("^mg __mcp:w") then world.set(2, leads, "replieslost") end
    return answer(self, line, ...)
end
ask(1, "delete " .. KEY)
world.at(2, function() ask(2, "add " .. KEY .. " 0 0 1", "2\r\n") end)
world.at(6, function() ask(1, "get " .. KEY, nil, tell) end)
world.at(40, function() ask(1, "delete " .. KEY) end)
for at = 60, 600, 5 do world.at(at, function() ask(1, "get other") end) end -- so that it sees the view
world.run(world.now + 600)
ask(2, "get " .. KEY, nil, tell)
world.run(world.now + 1000)
error("the storm is over", 0)

-- error: timers of which each sets two more
local function spawn()
  timer.after(0.001, spawn)
  timer.after(0.001, spawn)
end
return { setup = function() spawn() end }

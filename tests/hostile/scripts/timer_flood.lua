-- harmless or timeout: 64 timers at the same moment, again and again, each just within its time
local function long()
  local from = time.monotonic()
  while time.monotonic() - from < 0.004 do end
end
return { setup = function() for _ = 1, 64 do timer.every(0.01, long) end end }

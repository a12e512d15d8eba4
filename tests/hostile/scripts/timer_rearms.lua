-- harmless or timeout: timers that set themselves again at once, each just within its time
local function again()
  timer.after(1e-6, again)
  local from = time.monotonic()
  while time.monotonic() - from < 0.004 do end
end
return { setup = function() for _ = 1, 60 do timer.after(1e-6, again) end end }

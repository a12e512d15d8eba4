-- harmless or timeout: look-ups that ask again, each just within its time
local function look()
  hss.lookup("u0@home1.net", look)
  local from = time.monotonic()
  while time.monotonic() - from < 0.004 do end
end
return { setup = function() for _ = 1, 60 do hss.lookup("u0@home1.net", look) end end }

-- error: more look-ups than may be waited for
local function look() for _ = 1, 100 do hss.lookup("u0@home1.net", function() end) end end
return { setup = function() timer.every(0.01, look) end }

-- timeout: a callback of a look-up that loops without an end
local function look() hss.lookup("u0@home1.net", function() while true do end end) end
return { setup = function() timer.every(0.01, look) end }

-- error: a callback of a look-up that fails and quotes the subscriber
local function look() hss.lookup("u0@home1.net", function(found) error(tostring(found) .. ("\n"):rep(1000)) end) end
return { setup = function() timer.every(0.01, look) end }

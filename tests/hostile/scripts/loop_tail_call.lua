-- timeout: tail calls or plain calls, one after the other
local function ping(n) return n end
return { authorized = function() while true do ping(1) end end }
